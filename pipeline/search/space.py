"""The space of a search: checked as a whole, drawn from, and counted through as a grid."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.errors import RecipeError
from pipeline.recipe.reading import check_recipe, find_field, is_whole
from pipeline.recipe.search import Dimension
from pipeline.recipe.sections import Recipe
from pipeline.search.defaults import default_space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = float | int | str | bool | None
Values = Mapping[str, Value]
"""The values of a trial by the names of their fields. Lists and mappings are written as JSON."""

OTHER_SAMPLES = "changes which samples are trained on and judged, so that trials could not be compared"
NO_MODEL = "changes nothing of the model"
REFUSED = {
    "name": NO_MODEL,
    "seed": OTHER_SAMPLES,
    "modality": OTHER_SAMPLES,
    "data": OTHER_SAMPLES,
    "evaluate": NO_MODEL,
    "export": NO_MODEL,
    "search": NO_MODEL,
    "tracking": NO_MODEL,
    "transfer": NO_MODEL,
    "finetune.checkpoint_minutes": NO_MODEL,
    "finetune.device": NO_MODEL,
}


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

    @property
    def points(self) -> int | None:
        """Number of values in a grid; None where the range does not say how many."""
        if self.dimension.choices is not None:
            return len(self.dimension.choices)
        low, high = self.ends
        if self.dimension.points is not None:
            return len(self._whole_values()) if self.whole else self.dimension.points
        step = self.dimension.step or (1.0 if self.whole and not self.dimension.log else None)
        return None if step is None else math.floor((high - low) / step + 1e-9) + 1

    def value_at(self, index: int) -> Value:
        """Return a value of the grid by its number from 0 on."""
        if self.dimension.choices is not None:
            return encode(self.dimension.choices[index])
        low, high = self.ends
        if self.dimension.points is not None:
            return self._whole_values()[index] if self.whole else self._spread(index)
        value = low + index * (self.dimension.step or 1.0)
        return round(value) if self.whole else min(high, float(f"{value:.12g}"))

    def _spread(self, index: int) -> float:
        """Return one of the points that are evenly spread over the range: 0.3, not 0.30000000000000004."""
        (low, high), last = self.ends, (self.dimension.points or 2) - 1
        share = index / last
        value = low * (high / low) ** share if self.dimension.log else low + (high - low) * share
        return min(high, max(low, float(f"{value:.12g}")))

    def _whole_values(self) -> list[int]:
        """Return the whole numbers that are next to the points, each once."""
        return sorted({round(self._spread(index)) for index in range(self.dimension.points or 0)})

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


@dataclass(frozen=True)
class Space:
    """All fields that are searched.

    Attributes:
        axes: The fields, by name.
    """

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Number of points of the grid."""
        return math.prod(axis.points or 1 for axis in self.axes)

    def point(self, number: int) -> Values:
        """Return a point of the grid, by its number from 0 on; no other point is made for it."""
        values: dict[str, Value] = {}
        for axis in reversed(self.axes):
            number, index = divmod(number, axis.points or 1)
            values[axis.name] = axis.value_at(index)
        return {axis.name: values[axis.name] for axis in self.axes}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the fields' values as Optuna draws them."""
        return {axis.name: axis.distribution() for axis in self.axes}

    def recipe_with(self, recipe: Recipe, values: Values, place: str) -> Recipe:
        """Return a recipe with the values of a trial.

        Args:
            recipe: The recipe of the search.
            values: The values.
            place: What the values are, for the error, such as ``trial 3``.

        Raises:
            RecipeError: The recipe's own rules refuse them together.
        """
        axes = {axis.name: axis for axis in self.axes}
        decoded = {name: axes[name].decode(value) for name, value in values.items()}
        return with_values(recipe, decoded, place)

    def to_json(self) -> dict[str, object]:
        """Return the space as nested JSON values, by which two studies are told apart."""
        return {
            axis.name: axis.dimension.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for axis in self.axes
        }


def encode(choice: JsonValue) -> Value:
    """Return a choice as the database keeps it: lists and mappings as JSON."""
    return json.dumps(choice, sort_keys=True) if isinstance(choice, list | dict) else choice


def with_values(recipe: Recipe, values: Mapping[str, JsonValue], place: str) -> Recipe:
    """Return a recipe with other values at some dotted names.

    Raises:
        RecipeError: The recipe's own rules refuse them.
    """
    document = recipe.model_dump(mode="json", by_alias=True)
    for name, value in values.items():
        *sections, last = name.split(".")
        inside: Any = document
        for section in sections:
            inside[section] = inside.get(section) or {}
            inside = inside[section]
        inside[last] = copy.deepcopy(value)
    return check_recipe(document, place)


def space_of(recipe: Recipe) -> Space:
    """Return the space of a recipe's search, or the default one of its way to train.

    Raises:
        RecipeError: The space is wrong; everything that is wrong is listed at once.
    """
    named = recipe.search.space or default_space(recipe)
    faults = [fault for name, dimension in named.items() for fault in _faults(recipe, name, dimension)]
    if faults:
        lines = "\n".join(f"  search.space.{fault}" for fault in faults)
        raise RecipeError(f"The space of the search has {len(faults)} thing(s) to mend:\n{lines}")
    return Space(tuple(_axis(recipe, name, named[name]) for name in sorted(named)))


def _axis(recipe: Recipe, name: str, dimension: Dimension) -> Axis:
    return Axis(name, dimension, whole=is_whole(find_field(recipe, name)))


def _faults(recipe: Recipe, name: str, dimension: Dimension) -> Iterator[str]:
    """Yield what is wrong with one field of a space."""
    reason = next((why for key, why in REFUSED.items() if name == key or name.startswith(f"{key}.")), None)
    try:
        axis = _axis(recipe, name, dimension)
    except RecipeError as error:
        yield str(error)
        yield from (f"{name}: {fault}" for fault in _shape_faults(Axis(name, dimension)))
        return
    if reason is not None:
        yield f"{name}: {reason}"
        return
    shape = list(_shape_faults(axis))
    if shape:
        yield from (f"{name}: {fault}" for fault in shape)
        return
    if recipe.search.method == "grid" and axis.points is None:
        yield f"{name}: a grid needs `step` or `points` of a range, or `choices`"
    yield from _refused_values(recipe, axis)


def _shape_faults(axis: Axis) -> Iterator[str]:
    """Yield what is wrong with a range or with choices, whatever the field."""
    dimension = axis.dimension
    if dimension.choices is not None:
        if dimension != Dimension(choices=dimension.choices):
            yield "has `choices` and a range; keep one of them"
        if len({json.dumps(choice, sort_keys=True) for choice in dimension.choices}) < len(dimension.choices):
            yield "has a choice twice"
        elif len(dimension.choices) < 2:
            yield f"has {len(dimension.choices) or 'no'} value(s), and a search needs two at least"
    elif dimension.low is None or dimension.high is None:
        yield "needs `low` and `high`, or `choices`"
    else:
        yield from _range_faults(dimension, dimension.low, dimension.high, whole=axis.whole)


def _range_faults(dimension: Dimension, low: float, high: float, *, whole: bool) -> Iterator[str]:
    yield from _end_faults(dimension, low, high)
    if dimension.step is not None and dimension.points is not None:
        yield "has `step` and `points`; keep one of them"
    if dimension.step is not None and not 0 < dimension.step <= max(high - low, 0):
        yield f"step ({dimension.step:g}) has to be above 0, and high - low at most"
    if dimension.points is not None and dimension.points < 2:
        yield f"points ({dimension.points}) has to be 2 at least"
    if whole and not all(float(each).is_integer() for each in (low, high, dimension.step or 1)):
        yield "takes whole numbers only"


def _end_faults(dimension: Dimension, low: float, high: float) -> Iterator[str]:
    if low > high:
        yield f"low ({low:g}) is above high ({high:g})"
    elif low == high:
        yield f"has one value ({low:g}), and a search needs two at least"
    if dimension.log and low <= 0:
        yield f"log: true needs low above 0 (found {low:g})"
    if dimension.log and dimension.step is not None:
        yield "log: true goes with `points`, and not with `step`"


def _refused_values(recipe: Recipe, axis: Axis) -> Iterator[str]:
    """Yield a line for each end or choice that the recipe's own rules refuse."""
    for value in axis.extremes():
        try:
            with_values(recipe, {axis.name: value}, axis.name)
        except RecipeError as error:
            for line in str(error).splitlines()[1:]:
                told = line.strip()
                yield told if told.startswith(axis.name) else f"{axis.name}: {value!r} is refused: {told}"
