from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.artifacts.limits import LIMITS
from pipeline.artifacts.states import State
from pipeline.files.layout import RunFolder
from pipeline.verify.checks import check
from pipeline.verify.report import render_receipts, table_of, to_text
from serving.model.receipt import Receipt, read_receipt
from serving.model.records import Difference, Flip, Measured

pytestmark = pytest.mark.slow


@pytest.fixture
def receipt(tiny_run: Path) -> Receipt:
    return read_receipt(RunFolder(tiny_run).receipt)


def changed(receipt: Receipt, figures: dict[str, object] | None = None, **changes: object) -> Receipt:
    measured = receipt.measured.model_copy(update=figures or {})
    return receipt.model_copy(update={"measured": measured} | changes)


def test_table_marks_what_is_past_its_limit(receipt: Receipt) -> None:
    checks = [each.model_copy(update={"passed": each.name != "min_cosine"}) for each in receipt.checks]
    broken = changed(receipt, {"min_cosine": 0.5}, checks=checks, artifact="broken")
    rows = {row.name: row.cells for row in table_of([receipt, broken])}
    assert [cell.failed for cell in rows["least cosine"]] == [False, True]
    assert [cell.text for cell in rows["least cosine"]] == ["1.000000", "0.500000"]
    assert not any(cell.failed for name, cells in rows.items() for cell in cells if name != "least cosine")
    assert "! 0.500000" in to_text([broken])


def test_differences_never_show_a_negative_zero(receipt: Receipt) -> None:
    tiny = Difference(value=-1e-9, interval_95=(-2e-9, 1e-9))
    differences = dict.fromkeys(receipt.measured.metrics_difference, tiny)
    assert "-0.0000" not in to_text([changed(receipt, {"metrics_difference": differences})])


def test_receipt_of_an_artifact_that_does_not_run_is_shown_too(receipt: Receipt) -> None:
    measured = Measured(samples=20, wrong_labels=0, does_not_run="no")
    checks = check(measured, LIMITS["fp32"])
    broken = receipt.model_copy(update={"measured": measured, "checks": checks, "passed": False})
    assert "0 of 20" in to_text([broken])
    assert "NO" in to_text([broken])


def test_page_shows_verdicts_figures_and_flips_and_escapes_them(receipt: Receipt) -> None:
    flips = (Flip(sha256="ab" * 32, checkpoint="<b>bars", artifact="plain"),)
    states = {
        "onnx-fp32": State(published=True, why="all agree"),
        "onnx-int8": State(published=False, why="it is <slow>"),
    }
    page = render_receipts("tiny", states, [receipt, changed(receipt, artifact="onnx-int8", flips=flips)])
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
