"""Registry of the kinds of input.

Any installed package can bring one, as an entry point of the group ``graft.inputs``:

.. code-block:: toml

    [project.entry-points."graft.inputs"]
    row = "my_package.rows:ROW"

The entry point's name is the kind's own name, and its object an
:class:`~serving.model.inputs.kind.InputKind`.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import PlainValidator, SerializeAsAny

from serving.model.errors import BundleError
from serving.model.inputs.kind import InputKind, InputSpec

if TYPE_CHECKING:
    from serving.model.inputs.item import Preprocessor

GROUP: Final = "graft.inputs"
# In the form in which other packages declare theirs, but here and not in this package's metadata: a Bento
# carries the source alone. They come first, so that no other package replaces them, and finding them reads no
# metadata.
OWN: Final = (
    EntryPoint("image", "serving.model.inputs.image.kind:IMAGE", GROUP),
    EntryPoint("text", "serving.model.inputs.text.kind:TEXT", GROUP),
)


@functools.cache
def find_kind(name: str) -> InputKind:
    """Return the object of a kind of input.

    Raises:
        BundleError: ``unknown_input``: no installed package brings that kind, several do, or what one brings
            cannot be loaded or is not such an object.
    """
    points = [point for point in OWN if point.name == name] or list(entry_points(group=GROUP, name=name))
    if len({point.value for point in points}) != 1:
        known = ", ".join(list_kinds())
        count = "several installed packages bring" if points else "no installed package brings"
        text = f"{count} the kind of input `{name}` (entry points of the group {GROUP}). Known here: {known}."
        raise BundleError("unknown_input", text[0].upper() + text[1:])
    try:
        kind = points[0].load()
    except Exception as error:  # somebody else's module may raise anything
        text = f"The kind of input `{name}` cannot be loaded from {points[0].value} ({error})."
        raise BundleError("unknown_input", text) from error
    if not isinstance(kind, InputKind) or kind.name != name:
        what = f"called `{kind.name}`" if isinstance(kind, InputKind) else f"a {type(kind).__name__}"
        text = f"{points[0].value} is not the kind of input `{name}`, but is {what}."
        raise BundleError("unknown_input", text)
    return kind


def list_kinds() -> list[str]:
    """Return the names of all kinds that are here, our own first."""
    others = sorted({point.name for point in entry_points(group=GROUP)} - {point.name for point in OWN})
    return [*(point.name for point in OWN), *others]


def _read_spec(value: object) -> InputSpec:
    if isinstance(value, InputSpec):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("modality"), str):
        raise ValueError("must be an object that names its `modality`")
    return find_kind(value["modality"]).spec.model_validate(value)


AnyInputSpec = Annotated[SerializeAsAny[InputSpec], PlainValidator(_read_spec)]
"""The input spec of any kind, as a field of a pydantic model."""


def open_preprocessor(spec: InputSpec, folder: Path) -> Preprocessor:
    """Open the preprocessor of a bundle or a checkpoint.

    Args:
        spec: Its input spec.
        folder: Folder that holds the files named by the spec.

    Raises:
        BundleError: One of the files is missing or changed.
    """
    return find_kind(spec.modality).open_preprocessor(spec, folder)
