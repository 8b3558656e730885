"""The learning curve: linear heads on nested parts of the training split, judged on validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.probe import MOST_SAMPLES, cross_fit, stratified_folds
from pipeline.compare.records import to_digits
from pipeline.errors import DataError, GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.records import Record, VersionedRecord
from pipeline.files.samples import labels_of, read_samples
from pipeline.finetune.start.frozen import FrozenSplit, extract_splits
from pipeline.finetune.start.heads import GENTLE, Targets, fit_head
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

DRAWS = 10
OPTION = "--samples"
LEAST_OF_CLASS = 2


class Point(Record):
    """A number of training samples, and how heads that were fitted on so many answer validation.

    Attributes:
        samples: Number of training samples.
        rights: For each draw a ``1`` for each sample of validation that was answered rightly, else a ``0``.
    """

    samples: int
    rights: tuple[str, ...]


class Curve(VersionedRecord):
    """The learning curve of a backbone.

    Attributes:
        points: The numbers of samples, rising; the last is that of the whole training split.
    """

    points: tuple[Point, ...]


@dataclass(frozen=True)
class Size:
    """The size of a part of the training split.

    Attributes:
        value: A share of the split, in (0, 1], or a number of samples.
        is_share: Whether it is a share.
    """

    value: float
    is_share: bool

    def samples(self, whole: int) -> int:
        """Return the number of samples of that part of a split of so many."""
        return round(self.value * whole) if self.is_share else int(self.value)


def read_sizes(text: str) -> tuple[Size, ...]:
    """Return the sizes that a user gives, such as ``10%,30%,100%`` or ``200,500``.

    Args:
        text: Percentages or numbers of samples, parted by commas.

    Raises:
        GraftError: It is neither.
    """
    sizes = tuple(_read_size(part.strip()) for part in text.split(",") if part.strip())
    if not sizes:
        raise GraftError(f"{OPTION}: names no size; give such as 10%,30%,100%.")
    return sizes


def _read_size(text: str) -> Size:
    share, count = re.fullmatch(r"(\d+(?:\.\d+)?)%", text), re.fullmatch(r"\d+", text)
    if share and 0 < float(share[1]) <= 100:
        return Size(float(share[1]) / 100, is_share=True)
    if count and int(text) > 0:
        return Size(int(text), is_share=False)
    raise GraftError(
        f"{OPTION}: {text!r} is neither a percentage up to 100% nor a number of samples; give such as"
        " 10%,30%,100%."
    )


def sizes_of(sizes: Sequence[Size], targets: Targets) -> list[int]:
    """Return numbers of training samples, rising, the whole split always among them.

    Args:
        sizes: The sizes that are asked for.
        targets: Class indices of the training split, int64 of shape (samples,).

    Raises:
        DataError: A part is too small to hold two samples of each class, or larger than the split.
    """
    whole, classes = len(targets), len(np.unique(targets))
    least = LEAST_OF_CLASS * classes
    for size in sizes:
        count = size.samples(whole)
        if not least <= count <= whole:
            shown = f"{100 * size.value:g}%" if size.is_share else f"{size.value:g}"
            raise DataError(
                f"{OPTION}: {shown} would be {count} training samples: the split has {whole}, and"
                f" {classes} classes need {least} at least. Name a size between {least} and {whole}."
            )
    return sorted({whole, *(size.samples(whole) for size in sizes)})


def check_sizes(sizes: Sequence[Size], run: RunFolder) -> None:
    """Refuse sizes that a run's training split does not allow, before anything is measured.

    Args:
        sizes: The sizes that are asked for; none for no curve.
        run: The run's folder, whose stage ``data`` is done.

    Raises:
        DataError: A part is too small to hold two samples of each class, or larger than the split.
    """
    if sizes:
        everything = read_samples(run)
        labels = labels_of(everything)
        sizes_of(sizes, np.array([labels.index(each.label) for each in everything if each.split == "train"]))


def draw_order(targets: Targets, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the samples in a random order of which every beginning has the classes' shares, about.

    The first two of each class come first, so that no beginning lacks a class.

    Args:
        targets: Class indices, int64 of shape (samples,).
        generator: The source of chance.
    """
    places = np.zeros(len(targets))
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        ranks = generator.permutation(len(rows))
        places[rows] = np.where(ranks < LEAST_OF_CLASS, ranks - LEAST_OF_CLASS, (ranks + 0.5) / len(rows))
    return np.argsort(places, kind="stable").astype(np.int64)


def learn(recipe: Recipe, run: RunFolder, sizes: Sequence[Size]) -> Curve:
    """Fit heads on parts of the training split, each part within the next one, and judge them on validation.

    Args:
        recipe: The recipe, whose backbone is used.
        run: The run's folder, whose stage ``data`` is done. The test split is not read.
        sizes: The sizes of the parts.

    Raises:
        GraftError: The backbone cannot be had, or a part is too small.
    """
    frozen = extract_splits(recipe, run, ["train", "validation"])
    train, validation = frozen.splits["train"], frozen.splits["validation"]
    counts = sizes_of(sizes, train.targets)
    orders = [draw_order(train.targets, np.random.default_rng([recipe.seed, draw])) for draw in range(DRAWS)]
    masses, task = train.masses(len(frozen.labels)), task_of(recipe)
    points = []
    for count in counts:
        penalty = _penalty_of(train, orders[0][:count], recipe.seed)
        rights = []
        for order in orders[: 1 if count == len(train) else DRAWS]:
            rows = order[:count]
            some = None if masses is None else masses[rows]
            head = fit_head((train.features[rows], train.targets[rows]), penalty, some)
            answers = task.answers(task.probabilities(head.logits(validation.features)))
            rights.append(to_digits(answers == validation.targets))
        points.append(Point(samples=count, rights=tuple(rights)))
    return Curve(points=tuple(points))


def _penalty_of(train: FrozenSplit, rows: NDArray[np.int64], seed: int) -> float:
    """Return the penalty that is best over folds of a part; the gentle one where a class is too small."""
    rows = rows[:MOST_SAMPLES]
    targets = train.targets[rows]
    if np.bincount(targets)[np.unique(targets)].min() < LEAST_OF_CLASS:
        return GENTLE
    return cross_fit(train.features[rows], targets, stratified_folds(targets, seed)).penalty
