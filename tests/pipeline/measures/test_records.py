from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.measures.records import (
    ClassMetrics,
    ConfusionMatrix,
    Figures,
    Guessing,
    Intervals,
    Metrics,
    OpponentResult,
    TransferVerdict,
    read_metrics,
    write_metrics,
)

NAMES = ["accuracy", "macro_precision", "macro_recall", "macro_f1", "auroc", "ece"]
FIGURES = Figures(**dict.fromkeys(NAMES, 0.1 + 0.2))
METRICS = Metrics(
    samples=4,
    **FIGURES.model_dump(),
    ece_uncalibrated=0.25,
    temperature=1.5,
    per_class={
        "a": ClassMetrics(
            precision=0.5, precision_95=(0.0, 1.0), recall=1.0, recall_95=(0.25, 1.0), f1=2 / 3, support=1
        )
    },
    confusion_matrix=ConfusionMatrix(labels=("a", "b"), counts=((1, 0), (1, 2))),
    intervals_95=Intervals(**dict.fromkeys(NAMES, (0.25, 0.75))),
    guessing=Guessing(
        verdict="better",
        balanced_accuracy=0.75,
        chance=0.5,
        p_value=0.1 + 0.2,
        least_p_value=0.25,
        random_orders=0,
    ),
    transfer=TransferVerdict(
        answer="hurts",
        why="Transfer hurts.",
        measure="accuracy",
        value=0.75,
        against="words",
        difference=-0.25,
        difference_95=(-0.5, -0.1),
        smallest_difference=0.125,
        margin=0.05,
        samples=4,
        opponents=(
            OpponentResult(
                name="words",
                is_transfer=False,
                accuracy=1.0,
                balanced_accuracy=1.0,
                better_than_guessing=True,
                difference=-0.25,
                difference_95=(-0.5, -0.1),
                p_value=0.01,
                smallest_difference=0.125,
            ),
        ),
    ),
)


def test_metrics_keep_the_keys_that_programs_read_in_their_order() -> None:
    document = METRICS.model_dump(mode="json")
    assert list(document) == [
        "schema_version",
        "samples",
        *NAMES,
        "per_class",
        "confusion_matrix",
        "intervals_95",
        "guessing",
        "ece_uncalibrated",
        "temperature",
        "transfer",
    ]
    assert document["per_class"] == {
        "a": {
            "precision": 0.5,
            "precision_95": [0.0, 1.0],
            "recall": 1.0,
            "recall_95": [0.25, 1.0],
            "f1": 2 / 3,
            "support": 1,
        }
    }
    assert list(document["guessing"]) == [
        "verdict",
        "balanced_accuracy",
        "chance",
        "p_value",
        "least_p_value",
        "random_orders",
    ]
    assert document["confusion_matrix"] == {
        "labels": ["a", "b"],
        "rows_are": "true",
        "counts": [[1, 0], [1, 2]],
    }
    assert document["intervals_95"] == {name: [0.25, 0.75] for name in NAMES}
    assert list(document["transfer"]) == [
        "answer",
        "why",
        "measure",
        "value",
        "against",
        "difference",
        "difference_95",
        "smallest_difference",
        "margin",
        "samples",
        "opponents",
        "left_out",
    ]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_write_metrics_keeps_every_bit_of_a_number(values: list[float]) -> None:
    metrics = METRICS.model_copy(update=dict(zip(NAMES, values, strict=True)))
    with TemporaryDirectory() as folder:
        write_metrics(Path(folder) / "metrics.json", metrics)
        assert read_metrics(Path(folder) / "metrics.json") == metrics
        document = json.loads((Path(folder) / "metrics.json").read_text())
    assert [document[name] for name in NAMES] == values


def test_write_metrics_refuses_what_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(tmp_path / "metrics.json", METRICS.model_copy(update={"auroc": float("nan")}))
    assert not (tmp_path / "metrics.json").exists()
