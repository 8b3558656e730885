from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.artifacts.states import State
from pipeline.files.layout import RunFolder
from pipeline.verify.report import render_receipts, table_of, to_text

pytestmark = pytest.mark.slow


@pytest.fixture
def receipt(tiny_run: Path) -> dict[str, object]:
    return json.loads(RunFolder(tiny_run).receipt.read_text())


def test_table_marks_what_is_past_its_limit(receipt: dict[str, object]) -> None:
    checks = [check | {"passed": check["name"] != "min_cosine"} for check in receipt["checks"]]
    rows = {
        row.name: row.cells
        for row in table_of([receipt, receipt | {"checks": checks, "min_cosine": 0.5, "artifact": "broken"}])
    }
    assert [cell.failed for cell in rows["least cosine"]] == [False, True]
    assert [cell.text for cell in rows["least cosine"]] == ["1.000000", "0.500000"]
    assert not any(cell.failed for name, cells in rows.items() for cell in cells if name != "least cosine")
    assert "! 0.500000" in to_text([receipt | {"checks": checks, "min_cosine": 0.5}])


def test_differences_never_show_a_negative_zero(receipt: dict[str, object]) -> None:
    tiny = {name: {"value": -1e-9, "interval_95": [-2e-9, 1e-9]} for name in receipt["metrics_difference"]}
    assert "-0.0000" not in to_text([receipt | {"metrics_difference": tiny}])


def test_receipt_of_an_artifact_that_does_not_run_is_shown_too(receipt: dict[str, object]) -> None:
    kept = {key: receipt[key] for key in ("artifact", "in_use", "samples")}
    broken = kept | {
        "passed": False,
        "does_not_run": "no",
        "flips": [],
        "checks": [{"name": "does_not_run", "value": 1, "limit": 0, "passed": False}],
    }
    assert "0 of 20" in to_text([broken])
    assert "NO" in to_text([broken])


def test_page_shows_verdicts_figures_and_flips_and_escapes_them(receipt: dict[str, object]) -> None:
    flips = [{"sha256": "ab" * 32, "checkpoint": "<b>bars", "artifact": "plain"}]
    states = {
        "onnx-fp32": State(published=True, why="all agree"),
        "onnx-int8": State(published=False, why="it is <slow>"),
    }
    page = render_receipts("tiny", states, [receipt, receipt | {"artifact": "onnx-int8", "flips": flips}])
    for words in (
        "tiny: receipts",
        "published",
        "not published",
        "it is &lt;slow&gt;",
        "onnx-int8: 1 answer that differs",
        "abababababababab",
        "&lt;b&gt;bars",
    ):
        assert words in page
    assert "<b>bars" not in page
