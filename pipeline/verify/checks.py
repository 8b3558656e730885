"""The figures of a receipt beside their limits."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.artifacts.limits import LIMITS, Limits
from serving.model.receipt import Receipt
from serving.model.records import Check, Measured


def check(measured: Measured, limits: Limits) -> tuple[Check, ...]:
    """Compare figures with limits.

    Args:
        measured: The figures that were measured of an artifact.
        limits: The limits that the artifact must keep to.

    Returns:
        One check for each limited figure. For an artifact that does not run, answers in another shape, or
        answers with numbers that are not finite, only the checks of that.
    """
    return tuple(_check(measured, limits))


def _check(measured: Measured, limits: Limits) -> Iterator[Check]:
    yield _at_most("wrong_labels", measured.wrong_labels, 0)
    if measured.does_not_run is not None:
        yield _at_most("does_not_run", 1, 0)
        return
    if measured.expected_shape is not None:
        yield _at_most("wrong_shape", int(measured.shape != measured.expected_shape), 0)
        yield _at_most("not_finite", measured.not_finite, 0)
        return
    yield _at_most("not_finite", measured.not_finite, 0)
    if limits.max_scaled_logits is not None:
        yield _at_most("max_scaled_logits", measured.max_scaled_logits, limits.max_scaled_logits)
    if limits.max_abs_probabilities is not None:
        yield _at_most("max_abs_probabilities", measured.max_abs_probabilities, limits.max_abs_probabilities)
    yield _at_most("mean_kl", measured.mean_kl, limits.max_mean_kl)
    yield _at_most("metric_drop", measured.metric_drop, limits.max_metric_drop)
    yield _at_most("confidence_error", measured.confidence_error, limits.max_confidence_error)
    yield _at_most("batch_difference", measured.batch_difference, limits.max_batch_difference)
    yield _at_most("batch_flips", measured.batch_flips, 0)
    yield _at_most("sum_error", measured.sum_error, limits.max_sum_error)
    yield _at_least("min_cosine", measured.min_cosine, limits.min_cosine)
    yield _at_least("agreement", measured.agreement, limits.min_agreement)


def _at_most(name: str, value: float | None, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value is not None and value <= limit)


def _at_least(name: str, value: float | None, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value is not None and value >= limit)


def failures(receipt: Receipt) -> list[str]:
    """Return one line for people for each check that a receipt fails."""
    return [
        f"{each.name} is {_figure(each.value)}, limit {each.limit:g}"
        for each in receipt.checks
        if not each.passed
    ]


def allowances(receipt: Receipt) -> list[str]:
    """Return one line for people for each figure that passes only because the recipe allows more.

    Such a figure keeps to the limit that the recipe set, but not to the usual one of the precision.
    """
    usual = {each.name: each for each in check(receipt.measured, LIMITS[receipt.precision])}
    exceeded = [usual[each.name] for each in receipt.checks if each.passed and not usual[each.name].passed]
    return [
        f"{each.name} is {_figure(each.value)}, past the usual {each.limit:g}, as the recipe allows"
        for each in exceeded
    ]


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"
