"""Nested search: how good the procedure is on samples that no search has seen.

The samples of the training and the validation split are divided into outer folds. For each, a search like the
one that is measured runs on the others, and its best trial is scored on the fold, once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.together import key_of_groups
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.places import read_place, write_root
from pipeline.files.samples import Sample, Split, labels_of, read_samples, write_samples
from pipeline.recipe.search import Search
from pipeline.recipe.sections import Recipe
from pipeline.reporting.progress import in_words
from pipeline.search.bench import Bench
from pipeline.search.records import best_of
from pipeline.search.results import Nested
from pipeline.search.space import Space
from pipeline.search.studies import Study

log = logging.getLogger("graft")
FOLDS = 5


@dataclass(frozen=True)
class FoldFolder(RunFolder):
    """The folder of an outer fold: a table of samples, whose contents are those of the run.

    Attributes:
        run: The run's folder.
    """

    run: RunFolder

    @property
    def store(self) -> Path:
        """The folder of the contents that the run stores itself."""
        return self.run.store

    def scratch(self, split: str) -> Path:
        """Return the path of the decoded samples of a split, beside those of the run."""
        return self.run.scratch(f"{split}-{self.root.name}")


class Procedure(Protocol):
    """A search, whose procedure is measured.

    Attributes:
        recipe: The recipe.
        run: The run's folder.
        section: The recipe's section ``search``.
        space: The space.
        seed: Seed of the search.
        name: Name of its study.
    """

    recipe: Recipe
    run: RunFolder
    section: Search
    space: Space
    seed: int
    name: str

    def study(self, name: str, run: RunFolder) -> Study:
        """Open a study of this search on the samples of a folder."""
        ...

    def work(self, study: Study, bench: Bench) -> None:
        """Carry out trials until none is left, or the time is over, which begins now."""
        ...


def nested_estimate(searcher: Procedure, seconds: float, best_value: float) -> Nested:
    """Measure a search by outer folds, which are searches of their own in the same database.

    Each has the time of the search for itself, as it would not be the same procedure with less.

    Args:
        searcher: The search.
        seconds: Seconds that its own trials took in all.
        best_value: The best value that it found.

    Raises:
        GraftError: The samples are too few, or no trial of a fold has a value.
    """
    log.info(
        "search: %d outer folds, which take about %s%s",
        FOLDS,
        in_words(FOLDS * seconds),
        _told_minutes(searcher.section),
    )
    samples = [each for each in read_samples(searcher.run) if each.split in {"train", "validation"}]
    scores, inner = [], []
    for number, splits in enumerate(outer_folds(samples, searcher.seed)):
        run = FoldFolder(searcher.run.search / f"fold-{number}", searcher.run)
        _write_fold(run, samples, splits)
        bench, study = Bench(run), searcher.study(f"{searcher.name} fold {number}", run)
        searcher.work(study, bench)
        best = best_of(study.rows(), maximises=study.maximises)
        if best is None:
            raise GraftError(
                f"search.nested: no trial of fold {number} has a value; give the search more time"
            )
        recipe = searcher.space.recipe_with(searcher.recipe, best.values, f"fold {number}")
        result = bench.carry_out(recipe, lambda _: None, held_out="test")
        assert result.held_out is not None
        scores.append(result.held_out.objective(searcher.section.objective))
        inner.append(result.score.objective(searcher.section.objective))
    return estimate_of(scores, inner, best_value, maximises=study.maximises)


def prepare_nested(recipe: Recipe) -> None:
    """Say what outer folds will cost, and refuse to divide samples that belong together.

    Args:
        recipe: The recipe, with its search as it is asked for.

    Raises:
        GraftError: The data have groups, or an order in time, or cannot be read.
    """
    told = key_of_groups(recipe)
    if told is not None:
        raise GraftError(
            f"search.nested: {told} keeps samples together, and outer folds would tear them apart. Leave"
            " search.nested out; the test split says how good the best recipe is"
        )
    log.info("search: %d outer folds come after the search%s", FOLDS, _told_minutes(recipe.search))


def _told_minutes(section: Search) -> str:
    """Return the end of a line on outer folds that says how long each may take."""
    return "" if section.minutes is None else f", each with {section.minutes:g} minutes of its own"


def outer_folds(samples: Sequence[Sample], seed: int) -> list[list[Split]]:
    """Return the split of each sample in each outer fold: the fold itself is ``test``.

    The others keep about the shares of training and validation that the run has.

    Args:
        samples: The samples of both splits.
        seed: Seed of the folds.

    Raises:
        GraftError: A class has too few samples for a fold each.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    targets = _targets(samples)
    least = int(np.bincount(targets).min())
    if least < 2 * FOLDS:
        raise GraftError(
            f"search.nested: a class has {least} samples, and {FOLDS} outer folds need {2 * FOLDS} of each."
            " Leave search.nested out"
        )
    share = sum(sample.split == "validation" for sample in samples) / len(samples)
    folds = []
    for rows, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(targets, targets):
        splits: list[Split] = ["train"] * len(samples)
        _, chosen = train_test_split(rows, test_size=share, stratify=targets[rows], random_state=seed)
        for index in chosen:
            splits[index] = "validation"
        for index in judged:
            splits[index] = "test"
        folds.append(splits)
    return folds


def _targets(samples: Sequence[Sample]) -> NDArray[np.int64]:
    labels = labels_of(samples)
    return np.array([labels.index(sample.label) for sample in samples], np.int64)


def _write_fold(run: RunFolder, samples: Sequence[Sample], splits: Sequence[Split]) -> None:
    """Write the table of samples of an outer fold."""
    run.samples.parent.mkdir(parents=True, exist_ok=True)
    assert isinstance(run, FoldFolder)
    root = read_place(run.run).root
    if root is not None:
        write_root(run, root)
    divided = [replace(sample, split=split) for sample, split in zip(samples, splits, strict=True)]
    write_samples(run, divided)


def estimate_of(
    scores: Sequence[float], inner: Sequence[float], best_value: float, *, maximises: bool
) -> Nested:
    """Return the estimate over outer folds, with Student's interval of so few.

    Folds share training samples, so that the interval is somewhat too narrow.

    Args:
        scores: The objective on each outer fold.
        inner: The objective by which the same models were chosen.
        best_value: The best value of the search that is measured.
        maximises: Whether a greater value is better.
    """
    from scipy.stats import t as student

    values = np.array(scores)
    mean, count = float(values.mean()), len(values)
    reach = float(student.ppf(0.975, count - 1)) * float(values.std(ddof=1)) / count**0.5
    ahead = best_value - mean
    optimism = ahead if maximises else -ahead
    return Nested(tuple(scores), tuple(inner), mean, mean - reach, mean + reach, optimism)
