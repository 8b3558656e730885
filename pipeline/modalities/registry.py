"""Registry of the kinds of input on the pipeline's side.

Any installed package can bring one, as an entry point of the group ``graft.modalities`` beside that of
``graft.inputs`` (:mod:`serving.model.inputs.registry`):

.. code-block:: toml

    [project.entry-points."graft.modalities"]
    row = "my_package.modality:ROW"

The entry point's name is the kind's own name, and its object a
:class:`~pipeline.modalities.modality.Modality`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from pipeline.errors import GraftError
from pipeline.modalities.modality import Modality
from pipeline.recipe.sections import Recipe
from serving.model.errors import BundleError
from serving.model.inputs import registry as inputs

if TYPE_CHECKING:
    from pipeline.modalities.training import Training

GROUP: Final = "graft.modalities"
# Our own kinds, in the form in which other packages declare theirs. They come first, so that no other package
# replaces them, and finding them reads no metadata.
OWN: Final = (
    EntryPoint("image", "pipeline.modalities.image.modality:IMAGE", GROUP),
    EntryPoint("text", "pipeline.modalities.text.modality:TEXT", GROUP),
)
DEFAULT: Final = OWN[0].name
"""Name of the kind of a recipe that names none."""


@functools.cache
def find_modality(name: str) -> Modality:
    """Return the object of a kind of input.

    Args:
        name: The kind's name, the ``modality`` of a recipe.

    Raises:
        GraftError: No installed package brings that kind, several do, what one brings cannot be loaded or is
            not such an object, or serving does not know the kind.
    """
    point = _find_point(GROUP, OWN, name)
    try:
        modality = point.load()
    except Exception as error:  # somebody else's module may raise anything
        raise GraftError(f"The modality `{name}` cannot be loaded from {point.value} ({error}).") from error
    if not isinstance(modality, Modality) or modality.name != name:
        what = (
            f"called `{modality.name}`" if isinstance(modality, Modality) else f"a {type(modality).__name__}"
        )
        raise GraftError(f"{point.value} is not the modality `{name}`, but is {what}.")
    try:
        inputs.find_kind(name)
    except BundleError as error:
        raise GraftError(
            f"The modality `{name}` can be trained but not served. {error.message} "
            "Its package must declare both."
        ) from error
    return modality


def _find_point(group: str, our_points: Sequence[EntryPoint], name: str) -> EntryPoint:
    """Return the entry point of a kind, ours before those that are installed; GraftError unless it is one."""
    points = [point for point in our_points if point.name == name]
    points = points or list(entry_points(group=group, name=name))
    if len({point.value for point in points}) != 1:
        known = ", ".join(list_modalities())
        count = "Several installed packages bring" if points else "No installed package brings"
        raise GraftError(
            f"{count} the modality `{name}` (entry points of the group {group}). Known here: {known}."
        )
    return points[0]


def list_modalities() -> list[str]:
    """Return the names of all kinds that are installed, our own first."""
    others = sorted({point.name for point in entry_points(group=GROUP)} - {point.name for point in OWN})
    return [*(point.name for point in OWN), *others]


def modality_of(recipe: Recipe) -> Training:
    """Return the module that trains a recipe's kind of input; its libraries are imported by this call.

    Raises:
        GraftError: As :func:`find_modality` and :meth:`Modality.load` do.
    """
    return find_modality(recipe.modality).load()


def modules_of(name: str) -> tuple[str, ...]:
    """Return the import names of a kind's modules: those of its two objects, and the one that trains.

    What these import in turn is not among them.

    Raises:
        GraftError: As :func:`find_modality` does.
    """
    modality = find_modality(name)
    served = _find_point(inputs.GROUP, inputs.OWN, name)
    return (_find_point(GROUP, OWN, name).module, served.module, modality.training)
