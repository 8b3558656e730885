"""Figures beside their limits, for people and as JUnit."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipeline.budget.junit import require_place, write_junit
from pipeline.budget.records import BudgetRecord, Figure
from pipeline.errors import GateFailedError, GraftError

RECORD = BudgetRecord(
    image="sha256:0",
    machine="a CPU",
    figures=(
        Figure(name="image_mb", value=170.0, unit="MB", limit=180.0),
        Figure(name="packages", value=44, unit=""),
        Figure(name="p99_ms", value=31.0, unit="ms", limit=30.0, note="of 500"),
        Figure(name="memory_mb", value=None, unit="MB", limit=200.0, note="no way to isolate"),
        Figure(name="vulnerabilities", value=None, unit="", note="no dump was given"),
    ),
)


def test_what_is_above_or_unknown_under_a_limit_fails() -> None:
    assert [figure.name for figure in RECORD.figures if not figure.passed] == ["p99_ms", "memory_mb"]
    with pytest.raises(GateFailedError, match=r"2 figure\(s\) above") as raised:
        RECORD.require_passed(Path("models/cells"))
    assert raised.value.exit_code == 3
    assert "p99_ms: 31 ms, at most 30  ABOVE  (of 500)" in str(raised.value)


def test_table_says_each_figure_with_its_limit() -> None:
    lines = RECORD.to_text().splitlines()
    assert lines[0] == "image_mb         170 MB, at most 180  ok"
    assert lines[3] == "memory_mb        not measured, at most 200  ABOVE  (no way to isolate)"


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(180.0004, 180.0, "180.0004 MB"), (179.996, 180.0, "179.996 MB"), (180.0, 180.0, "180 MB")],
)
def test_value_is_told_from_its_limit(value: float, limit: float, said: str) -> None:
    assert Figure(name="image_mb", value=value, unit="MB", limit=limit).measured() == said


def test_junit_has_one_test_a_figure(tmp_path: Path) -> None:
    path = tmp_path / "budget.xml"
    write_junit(path, "cells", RECORD)
    suite = ET.parse(path).getroot().find("testsuite")
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped")}
    assert counts == {"tests": "5", "failures": "2", "skipped": "1"}
    outcomes = {case.get("name"): case[0].tag for case in suite}
    assert outcomes == {
        "image_mb": "system-out",
        "packages": "system-out",
        "p99_ms": "failure",
        "memory_mb": "failure",
        "vulnerabilities": "skipped",
    }


def test_junit_says_a_failure_wherever_readers_look_for_it(tmp_path: Path) -> None:
    write_junit(tmp_path / "budget.xml", "cells", RECORD)
    root = ET.parse(tmp_path / "budget.xml").getroot()
    failures = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    p99 = failures["p99_ms"]
    assert p99 is not None
    assert p99.get("message") == p99.text == "31 ms is above the limit of 30. of 500"
    assert p99.get("type") == "budget"
    assert [each.text for each in root.iter("system-out")] == ["170 MB, at most 180.", "44."]


def test_what_a_container_says_in_colour_is_still_xml(tmp_path: Path) -> None:
    note = "has ended: \x1b[31mERROR\x1b[0m \x00 \ufffe"
    figure = Figure(name="cold_start_s", value=None, unit="s", note=note, failed=True)
    write_junit(tmp_path / "budget.xml", "cells", RECORD.model_copy(update={"figures": (figure,)}))
    failure = ET.parse(tmp_path / "budget.xml").getroot().find(".//failure")
    assert failure is not None
    assert failure.get("message") == "failed: has ended: ERROR \ufffd \ufffd"


def test_container_that_failed_does_not_pass_even_without_a_limit() -> None:
    figure = Figure(name="cold_start_s", value=None, unit="s", note="it has ended", failed=True)
    record = RECORD.model_copy(update={"figures": (figure,)})
    with pytest.raises(GateFailedError, match=r"not measured  FAILED  .it has ended"):
        record.require_passed(Path("models/cells"))


def test_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "budget.xml"):
        with pytest.raises(GraftError, match=r"cannot be written .*--junit FILE"):
            require_place(place)
    require_place(tmp_path / "new" / "budget.xml")
    assert list((tmp_path / "new").iterdir()) == []
