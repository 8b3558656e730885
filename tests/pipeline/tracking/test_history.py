"""``history.jsonl``: whole lines, whatever ends the process that writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.tracking.events import EpochJudged, Packaged, RunBegun
from pipeline.tracking.history import HistoryFile, latest_training, read_moments
from tests.conftest import ROOT
from tests.pipeline.tracking.moments import at, begun, epoch

PACKAGED = at(9, Packaged(bento="a:1", model="a:1"))


def write(path: Path, *moments: object) -> HistoryFile:
    history = HistoryFile(path)
    for moment in moments:
        history.log(moment)  # type: ignore[arg-type]
    return history


def test_moments_are_read_back_as_they_were_told(tmp_path: Path) -> None:
    run = RunBegun(name="a", recipe_sha256="b", versions={"torch": "2"})
    moments = (at(0, run), begun(1), epoch(1), at(9, Packaged(bento=None, model=None)))
    write(tmp_path / "h.jsonl", *moments)
    assert read_moments(tmp_path / "h.jsonl") == moments
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [line["schema_version"] for line in lines] == [1] * 4
    assert [line["event"]["kind"] for line in lines] == [
        "run_begun", "stage_begun", "epoch_judged", "packaged",
    ]  # fmt: skip


def test_a_history_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_moments(tmp_path / "h.jsonl") == ()


@pytest.mark.parametrize("torn", [1, 40, -1])
def test_a_torn_last_line_is_skipped_and_mended(tmp_path: Path, torn: int) -> None:
    """Cut after the first byte, in the middle, and just before the line's end."""
    path = tmp_path / "h.jsonl"
    write(path, begun(), epoch(1))
    whole = path.read_bytes()
    line = (epoch(2).model_dump_json() + "\n").encode()
    path.write_bytes(whole + line[:torn])
    assert read_moments(path) == (begun(), epoch(1))
    write(path, epoch(3))
    assert path.read_bytes().startswith(whole)
    assert read_moments(path) == (begun(), epoch(1), epoch(3))


def test_lines_stay_whole_when_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    script = (
        "import itertools, sys; from pathlib import Path; "
        "from tests.pipeline.tracking.moments import epoch; "
        "from pipeline.tracking.history import HistoryFile; "
        "history = HistoryFile(Path(sys.argv[1])); print(flush=True); "
        "[history.log(epoch(n)) for n in itertools.count(len(history.moments))]"
    )
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        before = path.stat().st_size if path.exists() else 0
        assert process.stdout is not None
        process.stdout.readline()
        while not path.exists() or path.stat().st_size < before + 2000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    events = [moment.event for moment in read_moments(path)]
    numbers = [event.figures.epoch for event in events if isinstance(event, EpochJudged)]
    assert numbers == list(range(len(events)))
    assert len(events) > 8


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    write(path, begun(), epoch(1))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[1], ""]))
    with pytest.raises(GraftError, match=r"h\.jsonl:2: is damaged .*Move the file away"):
        HistoryFile(path)


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraftError, match="cannot be"):
        HistoryFile(tmp_path / "file" / "h.jsonl")


def test_what_is_known_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    write(path, begun(), epoch(1), PACKAGED)
    write(path, begun(5, resumed=True), epoch(1, speed=7), epoch(2), PACKAGED)
    assert read_moments(path) == (begun(), epoch(1), PACKAGED, begun(5, resumed=True), epoch(2))


def test_what_differs_is_written(tmp_path: Path) -> None:
    other, moved = at(9, Packaged(bento="a:2", model="a:2")), epoch(1, loss=9)
    write(tmp_path / "h.jsonl", begun(), epoch(1), PACKAGED, moved, other, PACKAGED)
    assert read_moments(tmp_path / "h.jsonl")[3:] == (moved, other, PACKAGED)


def test_a_training_that_begins_anew_has_its_own_epochs(tmp_path: Path) -> None:
    history = write(tmp_path / "h.jsonl", begun(), epoch(1), begun(50), epoch(1))
    assert latest_training(history.moments) == (begun(50), epoch(1))
