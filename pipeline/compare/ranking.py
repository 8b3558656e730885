"""The order of backbones: paired differences over folds or validation samples, and what to take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.compare.records import Cost, FoldFigures, Probe, Tuned
from pipeline.compare.table import Bounds, Row, rank_by_logme
from pipeline.finetune.keep.judging import Lead, lead

LEAST_GOING_ON = 2


@dataclass
class Standing:
    """What is known of a backbone so far.

    Attributes:
        name: Its name, for people.
        is_own: Whether it is the recipe's own.
        cost: What it costs; None as long as that is not measured.
        probe: Its linear probe; None as long as there is none.
        tuned: Its fine-tunings, the longest last.
        because: Why it is not measured, or not taken; None where nothing speaks against it.
    """

    name: str
    is_own: bool = False
    cost: Cost | None = None
    probe: Probe | None = None
    tuned: list[Tuned] = field(default_factory=list)
    because: str | None = None

    @property
    def is_in(self) -> bool:
        """Whether it may be taken."""
        return self.because is None and self.cost is not None and self.probe is not None

    @property
    def probe_loss(self) -> float:
        """Cross-validated loss of its probe, in nats; infinity without one."""
        return math.inf if self.probe is None else self.probe.out_of_fold.loss

    @property
    def ms(self) -> float:
        """Milliseconds a sample; infinity where they are not measured."""
        return math.inf if self.cost is None else self.cost.ms

    def row(self) -> Row:
        """Return its line of the table."""
        probe, cost = self.probe, self.cost
        longest = self.tuned[-1] if self.tuned else None
        return Row(
            name=self.name,
            is_own=self.is_own,
            because=self.because,
            probe_accuracy=probe and probe.out_of_fold.accuracy,
            probe_interval=probe and accuracy_interval(probe.folds),
            probe_loss=probe and probe.out_of_fold.loss,
            validation_accuracy=probe and probe.validation.accuracy,
            tuned_epochs=longest and longest.epochs,
            tuned_kept=longest and longest.kept,
            tuned_accuracy=longest and longest.validation.accuracy,
            tuned_loss=longest and longest.validation.loss,
            ms=cost and cost.ms,
            ms_interval=cost and (cost.low_ms, cost.high_ms),
            parameters=cost and cost.parameters,
            onnx_bytes=cost and cost.onnx_bytes,
            logme=probe and probe.logme,
        )


def accuracy_interval(folds: FoldFigures) -> Bounds:
    """Return the 95 % interval of a cross-validated accuracy over its folds, within [0, 1]."""
    from scipy.stats import t as student

    mean, error = fold_mean(folds.accuracies, folds.sizes)
    half = float(student.ppf(0.975, len(folds.sizes) - 1)) * error
    return max(0.0, mean - half), min(1.0, mean + half)


def fold_mean(values: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Return the mean over folds and its standard error.

    Models of different folds share most of their training samples, so that the folds' spread alone would be
    too small: Nadeau's and Bengio's correction (doi:10.1023/A:1024068626366) adds the share of the judged to
    the fitted samples.

    Args:
        values: The figure of each fold, two at least.
        sizes: Number of samples of each fold.
    """
    count = len(values)
    mean = float(np.average(values, weights=sizes))
    ratio = 1 / count + 1 / (count - 1)
    return mean, float(np.std(values, ddof=1)) * ratio**0.5


def lead_of(first: Standing, second: Standing) -> Lead:
    """Return by how much a backbone is better than another.

    The differences are paired, and of the longest training that both had: over the samples of validation
    after a fine-tuning, or else over the folds.

    Args:
        first: A backbone with a probe.
        second: Another one with a probe.
    """
    from scipy.stats import t as student

    level = min(len(first.tuned), len(second.tuned))
    if level:
        return lead(first.tuned[level - 1].validation.judged(), second.tuned[level - 1].validation.judged())
    assert first.probe is not None
    assert second.probe is not None
    differences = np.subtract(second.probe.folds.losses, first.probe.folds.losses)
    mean, error = fold_mean(differences.tolist(), first.probe.folds.sizes)
    return Lead(mean, error, float(student.ppf(0.975, len(differences) - 1)))


def is_ahead(first: Standing, second: Standing) -> bool:
    """Say whether a backbone is better than another by more than one standard error of the difference."""
    found = lead_of(first, second)
    return found.nats > found.standard_error


def is_faster(first: Standing, second: Standing) -> bool:
    """Say whether a backbone takes less time than another: nine tenths of its runs less than nine tenths.

    Args:
        first: A backbone whose cost is measured.
        second: Another one.
    """
    assert first.cost is not None
    assert second.cost is not None
    return first.cost.high_ms < second.cost.low_ms


def go_on(standings: Sequence[Standing]) -> list[Standing]:
    """Return the better half of some backbones, but two at least, the best first.

    Args:
        standings: Backbones that had the same training so far.
    """
    ordered = sorted(standings, key=loss_of)
    return ordered[: max(LEAST_GOING_ON, math.ceil(len(ordered) / 2))]


def loss_of(standing: Standing) -> float:
    """Return the loss of a backbone's longest fine-tuning on validation, or else of its probe, in nats."""
    return standing.tuned[-1].validation.loss if standing.tuned else standing.probe_loss


@dataclass(frozen=True)
class Choice:
    """Which backbone to take.

    Attributes:
        taken: The backbone.
        sentence: What to take and why, for people.
    """

    taken: Standing
    sentence: str


def choose(standings: Sequence[Standing], unit: str, validation: int) -> Choice:
    """Choose a backbone of those that came furthest: the fastest within one standard error of the best.

    Faster is what takes less time beyond the spread of both; the best stays where no other is.

    Args:
        standings: All backbones, one of which may be taken at least.
        unit: What several samples are called, such as ``pictures``.
        validation: Number of samples of validation.
    """
    allowed = [each for each in standings if each.is_in]
    furthest = max(len(each.tuned) for each in allowed)
    finalists = sorted((each for each in allowed if len(each.tuned) == furthest), key=loss_of)
    best = finalists[0]
    equal = [each for each in finalists if each is best or not is_ahead(best, each)]
    faster = [each for each in equal if is_faster(each, best)]
    taken = min(faster or [best], key=lambda each: (each.ms, loss_of(each)))
    on = "of a cross-validated linear probe"
    if furthest:
        epochs = "1 epoch" if taken.tuned[-1].epochs == 1 else f"{taken.tuned[-1].epochs} epochs"
        on = f"on {validation:,} {unit} of validation after {epochs} of fine-tuning"
    figures = f"{_figures_of(taken)} {on}, {taken.ms:.2f} ms a sample"
    return Choice(taken, f"Take {taken.name} ({figures}): {_why(taken, best, finalists)}.")


def _why(taken: Standing, best: Standing, finalists: Sequence[Standing]) -> str:
    """Return why a backbone is taken, and whether that could be chance."""
    if taken is not best:
        return (
            f"{best.name} is better by less than one standard error of the difference ({_figures_of(best)})"
            f" and takes {best.ms / taken.ms:.1f} times as long"
        )
    others = [each for each in finalists if each is not best]
    if not others:
        return "no other came as far"
    ahead = lead_of(best, others[0])
    sure = "is clearly" if ahead.is_clear else "is not clearly"
    return (
        f"it has the lowest loss of {len(finalists)}, and {sure} better than the next, {others[0].name}"
        f" ({_figures_of(others[0])}; {ahead.nats:+.3f} nats, 95 % interval {ahead.low:+.3f} to"
        f" {ahead.high:+.3f})"
    )


def _figures_of(standing: Standing) -> str:
    return f"loss {loss_of(standing):.3f}, accuracy {_accuracy_of(standing):.3f}"


def _accuracy_of(standing: Standing) -> float:
    """Return the accuracy of what :func:`loss_of` is of."""
    if standing.tuned:
        return standing.tuned[-1].validation.accuracy
    return 0.0 if standing.probe is None else standing.probe.out_of_fold.accuracy


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other one beats in both, the fastest first.

    Args:
        points: Milliseconds and accuracy, by name.
    """
    front: list[str] = []
    best = -math.inf
    for name, (_, accuracy) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if accuracy > best:
            front.append(name)
            best = accuracy
    return front


def rows_of(standings: Sequence[Standing]) -> tuple[Row, ...]:
    """Return the lines of the table: the best first, by how far each came and its loss; the others last."""
    ordered = sorted(standings, key=lambda each: (each.probe is None, -len(each.tuned), loss_of(each)))
    return rank_by_logme([each.row() for each in ordered])
