"""Whether a model is better than guessing: a permutation test of its balanced accuracy."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.figures import Counts, Targets, confusion, macro_figures
from pipeline.measures.records import Guessing

SIGNIFICANT = 0.05
PERMUTATIONS = 9_999
FEWEST_PERMUTATIONS = 999
MOST_DRAWN = 100_000_000  # answers that are drawn in all, which takes a few seconds
DRAWN_AT_ONCE = 4_000_000
ENUMERATED_SAMPLES = 8  # 40,320 orders of the answers
ROUNDING = 1e-9


def judge_guessing(predicted: Targets, targets: Targets, classes: int, seed: int) -> Guessing:
    """Test whether answers go with the labels more than the same answers in a random order would.

    The statistic is the balanced accuracy: the mean recall of the classes that have samples. So a model that
    always names the largest class has that of chance, however large the class is.

    Args:
        predicted: Class indices of the answers, of shape (samples,).
        targets: True class indices, of shape (samples,); at least one.
        classes: Number of classes that the model knows.
        seed: Seed of the random orders, where there are too many to go through all.
    """
    counts = confusion(predicted, targets, classes)
    balanced, chance = macro_figures(counts)["macro_recall"], 1 / classes
    p_value, orders = _p_value(predicted, targets, counts, seed)
    least = least_p_value(counts.sum(axis=1))
    if p_value <= SIGNIFICANT + ROUNDING and balanced > chance + ROUNDING:
        verdict = "better"
    elif least > SIGNIFICANT + ROUNDING and balanced > chance + ROUNDING:
        verdict = "too_few_samples"
    else:
        verdict = "guessing"
    return Guessing(
        verdict=verdict,
        balanced_accuracy=balanced,
        chance=chance,
        p_value=p_value,
        least_p_value=least,
        random_orders=orders,
    )


def least_p_value(sizes: NDArray[np.int64]) -> float:
    """Return the p-value of a prediction without a mistake: one over the orders that the labels can have.

    Args:
        sizes: Number of samples of each class, of shape (classes,).
    """
    return math.exp(sum(math.lgamma(size + 1) for size in sizes.tolist()) - math.lgamma(sizes.sum() + 1))


def _weights(counts: Counts) -> NDArray[np.float64]:
    """Return what a right answer adds to the balanced accuracy, by its class."""
    true = counts.sum(axis=1)
    return np.asarray((true > 0) / np.maximum(true, 1) / (true > 0).sum())


def _p_value(predicted: Targets, targets: Targets, counts: Counts, seed: int) -> tuple[float, int]:
    """Return the one-sided p-value, and how many random orders it is from; 0 where it is exact."""
    if len(counts) == 2:
        return _p_value_of_two(counts), 0
    weights = _weights(counts)
    reached = weights[targets[predicted == targets]].sum() - ROUNDING
    gains = weights[targets]
    if len(targets) <= ENUMERATED_SAMPLES:
        orders = np.array(list(itertools.permutations(predicted.tolist())))
        return float((((orders == targets) * gains).sum(axis=1) >= reached).mean()), 0
    generator = np.random.default_rng(seed)
    number = min(PERMUTATIONS, max(FEWEST_PERMUTATIONS, MOST_DRAWN // len(targets)))
    at_once = max(1, DRAWN_AT_ONCE // len(targets))
    as_good = 0
    for start in range(0, number, at_once):
        rows = np.broadcast_to(predicted, (min(at_once, number - start), len(targets)))
        orders = generator.permuted(rows, axis=1)
        as_good += int((((orders == targets) @ gains) >= reached).sum())
    return (as_good + 1) / (number + 1), number


def _p_value_of_two(counts: Counts) -> float:
    """Return Fisher's exact p-value: with two classes, the sizes and one count determine the others."""
    from scipy.stats import hypergeom

    total, of_second, named_second = counts.sum(), counts[1].sum(), counts[:, 1].sum()
    return float(hypergeom.sf(counts[1, 1] - 1, total, of_second, named_second))
