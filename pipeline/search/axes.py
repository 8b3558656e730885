"""One field of a space of a search: the values that it may have, counted without being written down."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.recipe.search import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = float | int | str | bool | None
Values = Mapping[str, Value]
"""The values of a trial by the names of their fields. Lists and mappings are written as JSON."""

DIGITS = 12
"""Number of decimal digits to which the values of a grid are told apart."""
MOST_WHOLE = 2**53
"""Whole numbers up to this are kept exactly, as the database keeps them as fractions."""


@dataclass(frozen=True)
class Axis:
    """One field of a space, with the values that it may have.

    Attributes:
        name: The field's dotted name.
        dimension: The range, or the choices.
        whole: Whether the field takes whole numbers only.
    """

    name: str
    dimension: Dimension
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value of a range."""
        low, high = self.dimension.low, self.dimension.high
        assert low is not None
        assert high is not None
        return low, high

    def decides(self, name: str) -> bool:
        """Return whether a trial's value of a field, by its dotted name, is that of this one or in it."""
        return name == self.name or name.startswith(f"{self.name}.")

    @property
    def points(self) -> int | None:
        """Number of values in a grid; None where the range does not say how many."""
        if self.dimension.choices is not None:
            return len(self.dimension.choices)
        low, high = self.ends
        if self.dimension.points is not None:
            return sum(self._whole_counts(self.dimension.points)) if self.whole else self.dimension.points
        step = self.dimension.step or (1.0 if self.whole and not self.dimension.log else None)
        return None if step is None else math.floor((high - low) / step + 1e-9) + 1

    def value_at(self, index: int) -> Value:
        """Return a value of the grid by its number from 0 on."""
        if self.dimension.choices is not None:
            return encode(self.dimension.choices[index])
        low, high = self.ends
        if self.dimension.points is not None:
            return self._whole_at(index, self.dimension.points) if self.whole else self._spread(index)
        value = low + index * (self.dimension.step or 1.0)
        return round(value) if self.whole else min(high, float(f"{value:.{DIGITS}g}"))

    def _spread(self, index: int) -> float:
        """Return one of the points that are evenly spread over the range: 0.3, not 0.30000000000000004."""
        (low, high), last = self.ends, (self.dimension.points or 2) - 1
        share = index / last
        value = low * (high / low) ** share if self.dimension.log else low + (high - low) * share
        return min(high, max(low, float(f"{value:.{DIGITS}g}")))

    def _whole_counts(self, points: int) -> tuple[int, int]:
        """Return how many values there are next to the points of a range of whole numbers, each once.

        Points of a logarithmic range lie closer than 1 at its lower end, where every whole number is next to
        one of them, and further apart above it.

        Args:
            points: Number of points, 2 or more.

        Returns:
            The number of values that follow one another from the least on, and of those above, one a point.
        """
        low, high = map(int, self.ends)
        if not self.dimension.log:
            return (high - low + 1, 0) if points > high - low else (0, points)
        growth = math.log(high / low) / (points - 1)
        sparse = math.ceil(-math.log(low * math.expm1(growth)) / growth)
        first = min(points - 1, max(0, sparse))
        return round(self._spread(first)) - low + 1, points - 1 - first

    def _whole_at(self, index: int, points: int) -> int:
        """Return one of the whole numbers that are next to the points, by its number from 0 on."""
        (low, high), (close, apart) = map(int, self.ends), self._whole_counts(points)
        if index < close:
            return low + index
        if self.dimension.log:
            return round(self._spread(points - (close + apart) + index))
        # The nearest one in whole numbers, as large ones lose digits as fractions.
        return low + (2 * index * (high - low) + points - 1) // (2 * (points - 1))

    def distribution(self) -> BaseDistribution:
        """Return the values as Optuna draws them."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.dimension.choices is not None:
            return CategoricalDistribution([encode(choice) for choice in self.dimension.choices])
        (low, high), step, log = self.ends, self.dimension.step, self.dimension.log
        if self.whole:
            return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
        return FloatDistribution(low, high, log=log, step=step)

    def decode(self, value: Value) -> JsonValue:
        """Return a value as the recipe has it."""
        for choice in self.dimension.choices or ():
            if type(encode(choice)) is type(value) and encode(choice) == value:
                return choice
        return value

    def extremes(self) -> Iterator[JsonValue]:
        """Yield the values that stand for all of them when they are checked: both ends, or every choice."""
        if self.dimension.choices is not None:
            yield from self.dimension.choices
        else:
            yield from (int(end) if self.whole else end for end in self.ends)


def encode(choice: JsonValue) -> Value:
    """Return a choice as the database keeps it: lists and mappings as JSON."""
    return json.dumps(choice, sort_keys=True) if isinstance(choice, list | dict) else choice
