"""The source of a network, by the prefix of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.modalities.image.sources.source import NetworkSource


def _timm() -> NetworkSource:
    from pipeline.modalities.image.sources import timm_models

    return timm_models


TIMM = "timm"
SOURCES: Mapping[str, Callable[[], NetworkSource]] = {TIMM: _timm}
"""A function that imports each source, by the prefix that stands before the colon of a backbone's name."""


def split_name(name: str) -> tuple[str, str]:
    """Return the source of a backbone's name, ``timm`` where it has no prefix, and the name without it."""
    prefix, colon, rest = name.partition(":")
    return (prefix, rest) if colon and prefix in SOURCES else (TIMM, name)


def source_of(name: str) -> tuple[NetworkSource, str]:
    """Import the source that a backbone's name belongs to, and return it with the name without its prefix."""
    source, rest = split_name(name)
    return SOURCES[source](), rest
