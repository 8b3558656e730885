"""The space of a search: checked as a whole, drawn from, and counted through as a grid."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.errors import RecipeError
from pipeline.recipe.fields import find_field, is_whole, takes_numbers, value_at, with_value
from pipeline.recipe.reading import check_recipe
from pipeline.recipe.search import Dimension
from pipeline.recipe.sections import Recipe
from pipeline.search.axes import DIGITS, MOST_WHOLE, Axis, Value, Values
from pipeline.search.defaults import default_space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

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
    "deploy": NO_MODEL,
    "budget": NO_MODEL,
    "transfer": NO_MODEL,
    "finetune.checkpoint_minutes": NO_MODEL,
    "finetune.device": NO_MODEL,
}


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

    def values_of(self, recipe: Recipe, name: str) -> list[object]:
        """Return what trials may have at a dotted name: both ends of a range, every choice, or the recipe's.

        Args:
            recipe: The recipe of the search.
            name: The field, whether it is searched or not.
        """
        document: Mapping[str, object] = recipe.model_dump(mode="json", by_alias=True)
        axis = next((axis for axis in self.axes if axis.decides(name)), None)
        if axis is None:
            return [value_at(document, name)]
        return [value_at(with_value(document, axis.name, each), name) for each in axis.extremes()]

    def try_value(self, recipe: Recipe, axis: Axis, value: JsonValue) -> Recipe:
        """Return a recipe with one value of a field, and where need be one of another searched field.

        The recipe's own value of another field may go together with none of this value, as the recipe of a
        best trial has it.

        Args:
            recipe: The recipe of the search.
            axis: The field.
            value: The value.

        Raises:
            RecipeError: The recipe's rules refuse the value, whatever one of the others is.
        """
        try:
            return with_values(recipe, {axis.name: value}, axis.name)
        except RecipeError:
            for other in self.axes:
                for beside in other.extremes() if other.name != axis.name else ():
                    with suppress(RecipeError):
                        return with_values(recipe, {other.name: beside, axis.name: value}, axis.name)
            raise

    def to_json(self) -> dict[str, object]:
        """Return the space as nested JSON values, by which two studies are told apart."""
        return {
            axis.name: axis.dimension.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for axis in self.axes
        }


def with_values(recipe: Recipe, values: Mapping[str, JsonValue], place: str) -> Recipe:
    """Return a recipe with other values at some dotted names.

    Raises:
        RecipeError: The recipe's own rules refuse them.
    """
    document: Mapping[str, object] = recipe.model_dump(mode="json", by_alias=True)
    for name, value in values.items():
        document = with_value(document, name, value)
    return check_recipe(document, place)


def space_of(recipe: Recipe) -> Space:
    """Return the space of a recipe's search, or the default one of its way to train.

    Raises:
        RecipeError: The space is wrong; everything that is wrong is listed at once.
    """
    named = recipe.search.space or default_space(recipe)
    faults = {name: list(_faults(recipe, name, dimension)) for name, dimension in named.items()}
    space = Space(tuple(_axis(recipe, name, named[name]) for name in sorted(named) if not faults[name]))
    for axis in space.axes:
        faults[axis.name] += _value_faults(recipe, axis, space)
    told = [f"  search.space.{fault}" for name in named for fault in faults[name]]
    if told:
        lines = "\n".join(told)
        raise RecipeError(f"The space of the search has {len(told)} thing(s) to mend:\n{lines}")
    return space


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
    if dimension.choices is None and not takes_numbers(find_field(recipe, name)):
        shape.append("takes no numbers, and so no range; name its values: `choices`")
    yield from (f"{name}: {fault}" for fault in shape)


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
    elif low < high:
        yield from _fineness_faults(dimension, low, high)
    if dimension.points is not None and dimension.points < 2:
        yield f"points ({dimension.points}) has to be 2 at least"
    if whole and not all(float(each).is_integer() for each in (low, high, dimension.step or 1)):
        yield "takes whole numbers only"
    if whole and max(abs(low), abs(high)) > MOST_WHOLE:
        yield f"takes whole numbers up to {MOST_WHOLE:,} only"


def _fineness_faults(dimension: Dimension, low: float, high: float) -> Iterator[str]:
    """Yield what keeps the values of a grid from being told apart."""
    told = f"values of a range are told apart to {DIGITS} digits"
    if not math.isfinite(high - low):
        yield "has low and high too far apart"
        return
    fineness = 10.0 ** (1 - DIGITS) * max(abs(low), abs(high))
    if dimension.step is not None and dimension.step < fineness:
        yield f"step ({dimension.step:g}) is too small: {told}"
    width = (
        math.log(high / low) * 10 ** (DIGITS - 1) if dimension.log and low > 0 else (high - low) / fineness
    )
    if dimension.points is not None and dimension.points > width + 1:
        yield f"points ({dimension.points:,}) are too many: {told}"


def _end_faults(dimension: Dimension, low: float, high: float) -> Iterator[str]:
    if low > high:
        yield f"low ({low:g}) is above high ({high:g})"
    elif low == high:
        yield f"has one value ({low:g}), and a search needs two at least"
    if dimension.log and low <= 0:
        yield f"log: true needs low above 0 (found {low:g})"
    if dimension.log and dimension.step is not None:
        yield "log: true goes with `points`, and not with `step`"


def _value_faults(recipe: Recipe, axis: Axis, space: Space) -> Iterator[str]:
    """Yield what is wrong with the values of one field whose shape is right.

    Args:
        recipe: The recipe.
        axis: The field.
        space: All fields whose shape is right.
    """
    if recipe.search.method == "grid" and axis.points is None:
        yield f"{axis.name}: a grid needs `step` or `points` of a range, or `choices`"
    for value in axis.extremes():
        try:
            space.try_value(recipe, axis, value)
        except RecipeError as error:
            for line in str(error).splitlines()[1:]:
                told = line.strip()
                yield told if told.startswith(axis.name) else f"{axis.name}: {value!r} is refused: {told}"
