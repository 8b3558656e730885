"""The table as people read it."""

from __future__ import annotations

from pipeline.compare.result import Comparison, CurveRow
from pipeline.compare.table import Row

MEASURED = Row(
    name="small", is_own=True, probe_accuracy=0.8421, probe_interval=(0.81, 0.87), probe_loss=0.35,
    validation_accuracy=0.85, tuned_epochs=2, tuned_kept="epoch 2", tuned_accuracy=0.861, tuned_loss=0.31,
    ms=5.1, ms_interval=(5.0, 5.3), parameters=3_370_000, onnx_bytes=13_400_000, logme=-0.384, logme_rank=1,
)  # fmt: skip


def comparison(*rows: Row, **changes: object) -> Comparison:
    values: dict[str, object] = {
        "run": "models/r", "unit": "pictures", "train": 1568, "validation": 395, "rows": rows,
        "without_transfer": None, "transfer": None, "recommendation": "Take small.",
        "recipe": "models/r/compare/recommended.yaml", "curve": (), "expected": (), "more_samples": None,
        "page": "models/r/compare/report.html",
    }  # fmt: skip
    return Comparison.model_validate(values | changes)


def test_every_figure_stands_in_its_column_in_its_unit() -> None:
    head, line, *_ = comparison(MEASURED).to_text().splitlines()
    for title, value in (
        ("backbone", "small (own)"), ("probe", "0.842"), ("95 %", "0.810-0.870"), ("validation", "0.850"),
        ("tuned", "0.861 (2)"), ("ms", "5.10"), ("params", "3.37 M"), ("ONNX", "13.4 MB"),
        ("LogME", "-0.384 (#1)"),
    ):  # fmt: skip
        assert value in line
        if title != "backbone":  # columns of numbers end at the same place
            assert line[: head.index(title) + len(title)].endswith(value)


def test_a_head_that_no_epoch_beat_is_told() -> None:
    kept = MEASURED.model_copy(update={"tuned_kept": "the best head"})
    assert "0.861 (2, head)" in comparison(kept).to_text()


def test_what_was_not_measured_says_why_and_has_no_figures() -> None:
    text = comparison(MEASURED, Row(name="lost", because="no weights here")).to_text()
    assert "lost: no weights here" in text
    assert "graft run models/r/compare/recommended.yaml" in text


def test_a_curve_has_a_table_of_its_own() -> None:
    point = CurveRow(name="small", samples=1568, error=0.149, draws=1)
    text = comparison(MEASURED, curve=(point,), more_samples="It cannot be told.", recipe=None).to_text()
    assert "1,568" in text
    assert "0.149" in text
    assert "more samples It cannot be told." in text
    assert "graft run" not in text
