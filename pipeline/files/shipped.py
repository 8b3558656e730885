"""Files of weights that installed packages ship, found by their names and sizes alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".bin", ".keras", ".h5"})
LONGEST_LICENCE = 60
LEAST_BYTES = 100_000
"""Size below which a file is no backbone's."""


@dataclass(frozen=True)
class Shipped:
    """A file of weights in an installed package.

    Attributes:
        path: Where it is.
        source: Its place as a recipe has it, ``package:NAME/PATH``.
        package: Name and version of the distribution.
        licence: The distribution's licence, as it names it; None where it names none.
    """

    path: Path
    source: str
    package: str
    licence: str | None


@functools.cache
def find_shipped() -> tuple[Shipped, ...]:
    """Return the files of weights of all installed packages; they are looked for once a process."""
    return tuple(_shipped())


def _shipped() -> Iterator[Shipped]:
    """Yield the files of weights of all installed packages."""
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.suffix.lower() not in SUFFIXES or len(file.parts) < 2 or ".." in file.parts:
                continue
            path = Path(str(distribution.locate_file(file)))
            if path.is_file() and path.stat().st_size >= LEAST_BYTES:
                yield Shipped(
                    path=path,
                    source=f"package:{file.as_posix()}",
                    package=f"{distribution.metadata['Name']} {distribution.version}",
                    licence=_licence_of(distribution),
                )


def _licence_of(distribution: metadata.Distribution) -> str | None:
    """Return a distribution's licence in a few words; None where it names none, or prints it whole."""
    fields = distribution.metadata.json
    for key in ("license_expression", "license"):
        text = fields.get(key)
        if isinstance(text, str) and len(text) <= LONGEST_LICENCE and text.upper() != "UNKNOWN":
            return text
    prefix = "License :: OSI Approved :: "
    names = [each for each in fields.get("classifier") or [] if each.startswith(prefix)]
    return names[0].removeprefix(prefix) if names else None
