from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import GateFailedError
from pipeline.evaluate.gate import require_better_than_guessing, require_metrics, require_no_harm
from pipeline.measures.metrics import measure_answers
from pipeline.measures.records import Figures, Score, TransferAnswer, TransferVerdict

REPORT = Path("report.html")
FIGURES = Figures(accuracy=0.8, macro_precision=0.7, macro_recall=0.7, macro_f1=0.7, auroc=0.9, ece=0.02)


def verdict(answer: TransferAnswer) -> TransferVerdict:
    return TransferVerdict(
        answer=answer,
        why="Transfer hurts: accuracy 0.7 against 0.8 of words.",
        measure="accuracy",
        value=0.7,
        against="words",
        difference=-0.1,
        difference_95=(-0.15, -0.05),
        smallest_difference=0.05,
        margin=0.05,
        samples=400,
        opponents=(),
    )


def score(predicted: list[int], targets: list[int]) -> Score:
    probabilities = 0.8 * np.eye(2)[predicted] + 0.1
    return measure_answers(probabilities, np.array(targets), ["a", "b"], resamples=100, seed=0)


def test_require_better_than_guessing_lets_pass_without_a_word_when_answers_follow_the_labels(
    caplog: pytest.LogCaptureFixture,
) -> None:
    require_better_than_guessing(score([0] * 9 + [1] * 9, [0] * 9 + [1] * 9), REPORT, ship_anyway=False)
    assert caplog.text == ""


def test_require_better_than_guessing_warns_when_samples_are_too_few(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "graft"):
        require_better_than_guessing(score([0, 1], [0, 1]), REPORT, ship_anyway=False)
    assert "too small to tell the model from guessing" in caplog.text
    assert "would have p = 0.5" in caplog.text


@pytest.mark.parametrize("targets", [[0, 1], [0] * 95 + [1] * 5])
def test_require_better_than_guessing_stops_when_one_label_is_always_named(
    targets: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    guesser = score([0] * len(targets), targets)
    said = (
        r"not better than guessing: balanced accuracy 0\.500 \(chance 0\.500\), "
        rf"p = 1, {len(targets)} samples"
        r".*report\.html.*labels.*backbone.*evaluate\.ship_guessing: true"
    )
    with pytest.raises(GateFailedError, match=said):
        require_better_than_guessing(guesser, REPORT, ship_anyway=False)
    with caplog.at_level(logging.WARNING, "graft"):
        require_better_than_guessing(guesser, REPORT, ship_anyway=True)
    assert "evaluate.ship_guessing says so" in caplog.text


def test_require_metrics_lets_pass_what_reaches_each_floor() -> None:
    require_metrics(FIGURES, {"accuracy": 0.8, "auroc": 0.5}, REPORT)
    require_metrics(FIGURES, {}, REPORT)


def test_require_metrics_lists_all_that_is_missed() -> None:
    with pytest.raises(
        GateFailedError, match=r"accuracy is 0.8000, required 0.81; macro_f1 is 0.7000, required 0.9"
    ):
        require_metrics(FIGURES, {"accuracy": 0.81, "auroc": 0.9, "macro_f1": 0.9}, REPORT)


@pytest.mark.parametrize("answer", ["helps", "no_measurable_difference", "cannot_be_told"])
def test_require_no_harm_lets_pass_when_nothing_is_clearly_better(answer: TransferAnswer) -> None:
    require_no_harm(verdict(answer), REPORT, ship_anyway=False)


def test_require_no_harm_stops_when_transfer_hurts_unless_the_recipe_ships_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(GateFailedError, match=r"accuracy 0\.7 against 0\.8 of words\. Nothing is packaged"):
        require_no_harm(verdict("hurts"), REPORT, ship_anyway=False)
    with caplog.at_level(logging.WARNING, "graft"):
        require_no_harm(verdict("hurts"), REPORT, ship_anyway=True)
    assert "evaluate.ship_negative_transfer says so" in caplog.text
