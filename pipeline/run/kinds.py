"""The modules of each kind of input, which no import names: they are found by entry points."""

from __future__ import annotations

_MODULES = {
    name: (
        f"pipeline.modalities.{name}.training",
        f"pipeline.modalities.{name}.content",
        f"serving.model.inputs.{name}.kind",
        f"serving.model.inputs.{name}.{decoding}",
    )
    for name, decoding in (("image", "pixels"), ("text", "tokens"))
}


def modules_of(name: str) -> tuple[str, ...]:
    """Return the dotted names of the modules that make up a kind of input, on both sides."""
    return _MODULES[name]
