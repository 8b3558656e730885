"""What is shown while a search goes on: a table that is drawn anew on a terminal, and lines elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from pipeline.search.records import TrialRow
from pipeline.search.table import Table, table_lines

ROWS = [
    TrialRow(place, state, value, {"finetune.penalty": 0.1 * 3**place, "finetune.mode": "full"}, 2, 1.25)
    for place, (state, value) in enumerate(
        [("done", 0.5), ("done", 0.25), ("behind", 0.75), ("failed", None), ("done", 0.3)]
    )
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_table_has_the_best_trials_first_and_the_last_one_below() -> None:
    lines = table_lines(ROWS[:3], 10, maximises=False)
    assert lines[0] == "search  [#######.................] 3 of 10 trials, 3.8 s of work"
    assert lines[1].split() == ["trial", "value", "penalty", "mode"]
    assert lines[2].split() == ["*", "1", "0.2500", "0.3", "full"]
    assert lines[3].split() == ["0", "0.5000", "0.1", "full"]
    assert lines[4].split() == ["-", "2", "0.7500", "0.9", "full", "ended", "early"]
    assert table_lines(ROWS, 5, maximises=True)[2].split()[:3] == ["*", "0", "0.5000"]


def test_on_a_terminal_each_table_is_drawn_over_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    logging.getLogger("graft").setLevel(logging.INFO)
    table = Table("study", 5, maximises=False)
    table.show(ROWS[:1])
    first = terminal.getvalue()
    table.show(ROWS)
    assert "\x1b" not in first
    assert terminal.getvalue()[len(first) :].startswith(f"\x1b[{first.count(chr(10))}F\x1b[J")


def test_on_a_terminal_nothing_but_warnings_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, log = Terminal(), logging.getLogger("graft")
    monkeypatch.setattr("sys.stderr", terminal)
    log.handlers[:], log.propagate = [logging.StreamHandler(terminal)], False
    log.setLevel(logging.INFO)
    table = Table("study", 5, maximises=False)
    with table.alone():
        table.show(ROWS[:1])
        log.info("an epoch")
        assert log.isEnabledFor(logging.INFO), "bars are shown"
        log.warning("a warning")
        table.show(ROWS[:2])
    log.info("the end")
    told = terminal.getvalue()
    assert "an epoch" not in told
    assert told.endswith("the end\n")
    assert "a warning\nsearch  [" in told, "the table is drawn below it, and nothing over it"


def test_elsewhere_each_trial_is_a_line_and_quiet_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "graft")
    table = Table("study", 5, maximises=False)
    for count in (1, 1, 3, 5):
        table.show(ROWS[:count])
    assert [record.getMessage() for record in caplog.records] == [
        "search: the study study goes on after 1 of 5 trials",
        "search: trial 1: 0.2500 (penalty 0.3, mode full); the best is 0.2500 of trial 1",
        "search: trial 2: 0.7500 ended early (penalty 0.9, mode full); the best is 0.2500 of trial 1",
        "search: trial 3: failed (penalty 2.7, mode full); the best is 0.2500 of trial 1",
        "search: trial 4: 0.3000 (penalty 8.1, mode full); the best is 0.2500 of trial 1",
    ]
    caplog.clear()
    logging.getLogger("graft").setLevel(logging.ERROR)
    Table("study", 5, maximises=False).show(ROWS)
    assert caplog.records == []
