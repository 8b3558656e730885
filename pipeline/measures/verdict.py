"""The verdict on transfer: a fine-tuned model against what does without transfer, or without fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.figures import Targets, confusion, macro_figures
from pipeline.measures.guessing import judge_guessing
from pipeline.measures.paired import ROUNDING, SIGNIFICANT, PairedDifference, compare_answers
from pipeline.measures.records import Interval, Measure, OpponentResult, TransferAnswer, TransferVerdict

SHOWN = {
    "helps": "Transfer helps",
    "no_measurable_difference": "Transfer makes no measurable difference",
    "hurts": "Transfer hurts",
    "cannot_be_told": "Whether transfer helps cannot be told from so few samples",
}
MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "mean recall of the classes"}


@dataclass(frozen=True)
class Opponent:
    """What a fine-tuned model has to be better than.

    Attributes:
        name: The name that people read.
        is_transfer: Whether it uses what was pretrained, as the head on the frozen backbone does.
        answers: Its answers, class indices of shape (samples,).
    """

    name: str
    is_transfer: bool
    answers: Targets


def judge_transfer(
    answers: Targets,
    opponents: Sequence[Opponent],
    targets: Targets,
    classes: int,
    *,
    measure: Measure,
    margin: float,
    seed: int,
    left_out: Sequence[str] = (),
) -> TransferVerdict:
    """Judge whether transfer helps.

    Every opponent is compared by a paired test at the level of 5 %. To help, transfer has to win against all
    that do without it, which needs no correction. To hurt, it has to lose to one of all opponents, so the
    p-values are corrected by Holm's method. What is not better than guessing wins against nothing: which of
    two guessers is right more often is chance, or a matter of which class they name.

    Args:
        answers: The fine-tuned model's answers, class indices of shape (samples,).
        opponents: The opponents.
        targets: True class indices, of shape (samples,); at least one.
        classes: Number of classes that the model knows.
        measure: What is compared.
        margin: Largest difference that counts as none, in (0, 1].
        seed: Seed of whatever is drawn by chance.
        left_out: A sentence for each opponent that could not be had; none by default.
    """
    by_class, contenders = measure == "balanced_accuracy", len(opponents) + 1
    pairs = [
        compare_answers(answers, each.answers, targets, by_class=by_class, seed=seed) for each in opponents
    ]
    results = tuple(
        _result(each, pair, targets, classes, seed, contenders)
        for each, pair in zip(opponents, pairs, strict=True)
    )
    able = _beats_guessing(answers, targets, classes, seed, contenders)
    value = _value(answers, targets, classes, measure)
    answer, decisive = _decide(results, able=able, margin=margin)
    return TransferVerdict(
        answer=answer,
        why=_explain(answer, decisive, value, measure, able=able, margin=margin),
        measure=measure,
        value=value,
        margin=margin,
        samples=len(targets),
        opponents=results,
        left_out=tuple(left_out),
        **_told_of(decisive),
    )


class _Told(TypedDict):
    """What a verdict says of the opponent that it rests on."""

    against: str | None
    difference: float
    difference_95: Interval
    smallest_difference: float


def _told_of(decisive: OpponentResult | None) -> _Told:
    """Return what a verdict says of the opponent that it rests on; of none that nothing is known."""
    if decisive is None:
        return {"against": None, "difference": 0.0, "difference_95": (-1.0, 1.0), "smallest_difference": 1.0}
    return {
        "against": decisive.name,
        "difference": decisive.difference,
        "difference_95": decisive.difference_95,
        "smallest_difference": decisive.smallest_difference,
    }


def _decide(
    results: Sequence[OpponentResult], *, able: bool, margin: float
) -> tuple[TransferAnswer, OpponentResult | None]:
    """Return the answer, and the opponent that it rests on."""
    losses = [each for each in _significant(results) if each.difference < 0 and each.better_than_guessing]
    if losses:
        return "hurts", min(losses, key=lambda each: each.difference)
    without = [each for each in results if not each.is_transfer]
    if not without:
        return "cannot_be_told", None
    unbeaten = [each for each in without if not (_is_significant(each) and each.difference > 0)]
    closest = min(unbeaten or without, key=lambda each: (each.difference, each.difference_95))
    if not able:
        return "cannot_be_told", closest
    if not unbeaten:
        return "helps", closest
    low, high = closest.difference_95
    told = -margin <= low <= 0 <= high <= margin
    return ("no_measurable_difference" if told else "cannot_be_told"), closest


def _is_significant(result: OpponentResult) -> bool:
    return result.p_value <= SIGNIFICANT + ROUNDING


def _significant(results: Sequence[OpponentResult]) -> list[OpponentResult]:
    """Return the comparisons whose difference is told from 0, all of them together at 5 % (Holm 1979)."""
    ordered = sorted(results, key=lambda each: each.p_value)
    kept: list[OpponentResult] = []
    for place, each in enumerate(ordered):
        if each.p_value * (len(ordered) - place) > SIGNIFICANT + ROUNDING:
            break
        kept.append(each)
    return kept


def _beats_guessing(answers: Targets, targets: Targets, classes: int, seed: int, contenders: int) -> bool:
    """Say whether answers are better than guessing, all contenders' together at 5 % (Bonferroni)."""
    found = judge_guessing(answers, targets, classes, seed)
    return found.balanced_accuracy > found.chance and found.p_value <= SIGNIFICANT / contenders


def _value(answers: Targets, targets: Targets, classes: int, measure: Measure) -> float:
    """Return the measure of some answers, in [0, 1]."""
    if measure == "accuracy":
        return float(np.mean(answers == targets))
    return macro_figures(confusion(answers, targets, classes))["macro_recall"]


def _result(
    opponent: Opponent,
    pair: PairedDifference,
    targets: NDArray[np.int64],
    classes: int,
    seed: int,
    contenders: int,
) -> OpponentResult:
    """Return the record of a comparison."""
    return OpponentResult(
        name=opponent.name,
        is_transfer=opponent.is_transfer,
        accuracy=_value(opponent.answers, targets, classes, "accuracy"),
        balanced_accuracy=_value(opponent.answers, targets, classes, "balanced_accuracy"),
        better_than_guessing=_beats_guessing(opponent.answers, targets, classes, seed, contenders),
        difference=pair.difference,
        difference_95=pair.interval_95,
        p_value=pair.p_value,
        smallest_difference=pair.smallest,
    )


def _explain(
    answer: TransferAnswer,
    decisive: OpponentResult | None,
    value: float,
    measure: Measure,
    *,
    able: bool,
    margin: float,
) -> str:
    """Return the verdict as one sentence."""
    if decisive is None:
        return "Whether transfer helps cannot be told: there is nothing without transfer to compare with."
    low, high = decisive.difference_95
    theirs = decisive.accuracy if measure == "accuracy" else decisive.balanced_accuracy
    figures = (
        f"{MEASURES[measure]} {value:.3f} against {theirs:.3f} of {decisive.name}"
        f" ({decisive.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})"
    )
    could = (
        f"the smallest difference that these samples could have shown is {decisive.smallest_difference:.3f}"
    )
    if answer == "helps":
        return f"{SHOWN[answer]}: {figures}, the best that does without it."
    if answer == "hurts":
        what = "Fine-tuning hurts" if decisive.is_transfer else f"{SHOWN[answer]} (negative transfer)"
        return f"{what}: {figures}."
    if answer == "no_measurable_difference":
        return f"{SHOWN[answer]}: {figures}; {could}, and less than {margin:g} counts as none."
    return _explain_open(decisive, figures, could, able=able)


def _explain_open(decisive: OpponentResult, figures: str, could: str, *, able: bool) -> str:
    """Return why nothing can be told."""
    if not able:
        because = "since the model is not clearly better than guessing"
    elif not _is_significant(decisive):
        return f"{SHOWN['cannot_be_told']}: {figures}; {could}."
    elif not decisive.better_than_guessing:
        because = (
            "since an opponent that only guesses is right more often, which classes of unequal size allow"
            " (finetune.class_weights: balanced compares the mean recall)"
        )
    else:
        because = "since one such difference among several comparisons may be chance"
    return f"Whether transfer helps cannot be told, {because}: {figures}."
