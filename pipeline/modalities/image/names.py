"""The names of backbones of pictures: the source before the colon, and what the source makes of the rest.

This stands apart from the sources, which need torch, since recipes are read without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

TIMM: Final = "timm"
TORCHVISION: Final = "torchvision"
HUB: Final = "hub"
KERAS: Final = "keras"
PREFIXES: Final = (TIMM, TORCHVISION, HUB, KERAS)
PACKAGES: Final = {HUB: (), KERAS: ("keras", "h5py"), TIMM: (), TORCHVISION: ()}
"""The distributions that a source needs besides those of every picture, by its prefix."""


def split_name(name: str) -> tuple[str, str]:
    """Return the source of a backbone's name, ``timm`` where it has no prefix, and the name without it."""
    prefix, colon, rest = name.partition(":")
    return (prefix, rest) if colon and prefix in PREFIXES else (TIMM, name)


def folder_of(name: str) -> str | None:
    """Return the folder that a backbone's name leads to, as the recipe has it; None where it names none."""
    source, rest = split_name(name)
    return rest.rpartition(":")[0] or None if source == HUB else None


def with_folder(name: str, change: Callable[[str], str]) -> str:
    """Return a backbone's name with its folder changed; as it is where it names none.

    Args:
        name: The name, such as ``hub:FOLDER:ENTRY``.
        change: From the folder in the name to the one that takes its place.
    """
    folder = folder_of(name)
    return name if folder is None else f"{HUB}:{change(folder)}:{name.rpartition(':')[2]}"
