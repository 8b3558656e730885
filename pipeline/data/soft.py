"""Soft targets of a table: the probability of each class of a sample, and the sample's weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan

import numpy as np

from pipeline.data.labelled import Labelled
from pipeline.data.labels import NUMBER
from pipeline.errors import DataError
from pipeline.files.samples import Sample
from pipeline.recipe.data import Table
from pipeline.reporting.printable import listing, printable

KEY, WEIGHT_KEY = "data.table.probabilities", "data.table.weight"
# By so much the sum of a row's probabilities may differ from one, since tables are rounded.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class SoftRow:
    """The numbers of one row.

    Attributes:
        place: Where the row stands, for messages.
        probabilities: The probability of each class that the recipe names, in its order.
        weight: The weight of the sample; None where the recipe names no column of weights.
    """

    place: str
    probabilities: tuple[float, ...]
    weight: float | None


class SoftReader:
    """Reads the probabilities and weights of rows, and says at the end what is wrong with all of them.

    Args:
        table: The recipe's section ``data.table``.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._classes = tuple(table.probabilities)
        self._is_used = bool(table.probabilities) or table.weight is not None
        self._rows: list[SoftRow] = []
        self._faults: dict[str, list[str]] = {KEY: [], WEIGHT_KEY: []}

    def read(self, probabilities: Sequence[str | None], weight: str | None, place: str) -> None:
        """Read the numbers of the next sample.

        Args:
            probabilities: The cells with the probabilities, in the order of the recipe's classes.
            weight: The cell with the weight; None where there is none.
            place: Where the row stands, such as ``train.csv, line 17``, for messages.
        """
        if not self._is_used:
            return
        numbers = tuple(self._number(KEY, cell, place, 1.0) for cell in probabilities)
        given = self._table.weight is not None
        heavy = self._number(WEIGHT_KEY, weight, place, float("inf")) if given else None
        self._rows.append(SoftRow(place, numbers, heavy))

    def _number(self, key: str, cell: str | None, place: str, most: float) -> float:
        """Return the number in a cell; where it is none or too large, note that, and return no number."""
        text = (cell or "").strip()
        value = float(text) if NUMBER.fullmatch(text) else nan
        if not (0 <= value <= most and isfinite(value)):
            self._faults[key].append(f"{place}: {printable(text) or 'nothing'}")
            return nan
        return value

    def finish(self, examples: Sequence[Labelled]) -> tuple[list[Labelled], list[str]]:
        """Return the examples with their probabilities and weights, and what there is to tell of them.

        Args:
            examples: The examples whose rows were read, in the same order.

        Raises:
            DataError: A value is no probability or no weight, a class is none of the data's or is missing,
                the probabilities of a row do not sum to one, or all weights are 0.
        """
        if not self._is_used:
            return list(examples), []
        self._refuse_faults()
        labels = sorted({example.label for example in examples})
        resolved = self._resolve(labels) if self._classes else [None] * len(self._rows)
        found = [
            replace(example, probabilities=probabilities, weight=row.weight)
            for example, probabilities, row in zip(examples, resolved, self._rows, strict=True)
        ]
        if found and all(example.weight == 0 for example in found):
            raise DataError(f"{WEIGHT_KEY}: all weights are 0. Give the samples that should train a weight.")
        return found, self._tell(found, labels)

    def _refuse_faults(self) -> None:
        """Refuse cells that hold no probability or no weight."""
        wanted = {
            KEY: ("from 0 to 1", "Correct them; divide percentages by 100."),
            WEIGHT_KEY: ("of 0 or more", "Correct them, or leave the key out."),
        }
        for key, (numbers, remedy) in wanted.items():
            faults = self._faults[key]
            if faults:
                raise DataError(
                    f"{key}: {len(faults):,} value(s) are no number {numbers}:\n{listing(faults)}\n{remedy}"
                )

    def _resolve(self, labels: Sequence[str]) -> list[tuple[float, ...]]:
        """Return the probability of every class for each row, in the order of the labels."""
        unknown = [name for name in self._classes if name not in labels]
        rest = [name for name in labels if name not in self._classes]
        if unknown or len(rest) > 1:
            fault = (
                f"{_names(unknown)} is no class of the data" if unknown else f"{_names(rest)} have no column"
            )
            raise DataError(
                f"{KEY}: {fault}; the classes are {_names(labels)}. Name a column for each of them, or for "
                "each but one, which gets the rest."
            )
        named = np.array([row.probabilities for row in self._rows]).reshape(-1, len(self._classes))
        sums = named.sum(axis=1)
        wrong = sums > 1 + TOLERANCE if rest else np.abs(sums - 1) > TOLERANCE
        if wrong.any():
            lines = [f"{self._rows[i].place}: {sums[i]:.4g}" for i in np.flatnonzero(wrong)]
            raise DataError(
                f"{KEY}: the probabilities of {len(lines):,} row(s) do not sum to one:\n{listing(lines)}\n"
                "Correct these rows, or divide each by its sum."
            )
        whole = np.column_stack([named, np.clip(1 - sums, 0, 1)]) if rest else named
        order = [(*self._classes, *rest).index(name) for name in labels]
        whole = whole[:, order] / whole.sum(axis=1, keepdims=True)
        return [tuple(row) for row in whole.tolist()]

    def _tell(self, examples: Sequence[Labelled], labels: Sequence[str]) -> list[str]:
        """Return what training aims at, and how many labels are not the likeliest class."""
        told = []
        if self._classes:
            soft = sum(max(example.probabilities or ()) < 1 for example in examples)
            told.append(
                f"training aims at the probabilities of {_names(self._classes)}: {soft:,} samples are not "
                "certain"
            )
            other = sum(
                (example.probabilities or ())[labels.index(example.label)] < max(example.probabilities or ())
                for example in examples
            )
            if other:
                told.append(f"the label of {other:,} samples is not their most probable class")
        if self._table.weight is not None:
            nothing = sum(example.weight == 0 for example in examples)
            told.append(f"samples train by their `{printable(self._table.weight)}`: {nothing:,} have none")
        return told


def merged(equal: Sequence[Labelled], chosen: Labelled) -> Labelled:
    """Return the example that is kept of equal ones, with the mean of their probabilities and weights.

    Args:
        equal: Examples of one content and label, the chosen one among them.
        chosen: The one that is kept.
    """
    if len(equal) == 1 or (chosen.probabilities is None and chosen.weight is None):
        return chosen
    probabilities, weight = chosen.probabilities, chosen.weight
    if probabilities is not None:
        means = np.array([example.probabilities for example in equal]).mean(axis=0)
        probabilities = tuple((means / means.sum()).tolist())
    if weight is not None:
        weight = sum(example.weight or 0.0 for example in equal) / len(equal)
    return replace(chosen, probabilities=probabilities, weight=weight)


def refuse_weightless(samples: Sequence[Sample]) -> None:
    """Refuse classes that nothing in the training split teaches.

    Args:
        samples: All samples with their splits.

    Raises:
        DataError: The probabilities or weights of a class are all 0 in the training split.
    """
    labels = sorted({sample.label for sample in samples})
    masses = dict.fromkeys(labels, 0.0)
    for sample in samples:
        if sample.split == "train":
            weight = 1.0 if sample.weight is None else sample.weight
            shares = sample.probabilities or [float(name == sample.label) for name in labels]
            for name, share in zip(labels, shares, strict=True):
                masses[name] += weight * share
    without = [name for name, mass in masses.items() if mass <= 0]
    if without:
        raise DataError(
            f"{_names(without)}: in the training split all probabilities or weights of the class are 0, so "
            f"that nothing teaches it. Correct {KEY} and {WEIGHT_KEY}, or leave the label out "
            "(data.labels.leave_out)."
        )


def _names(names: Sequence[str]) -> str:
    """Return the names of classes, for a message."""
    return ", ".join(f"`{printable(name)}`" for name in names)
