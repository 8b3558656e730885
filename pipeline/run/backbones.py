"""The list of the pretrained backbones of all kinds of input."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

from pipeline.modalities.offers import MOST_LISTED, Offer, Offers
from pipeline.modalities.registry import find_modality, list_modalities


def list_offers(find: str | None = None) -> Offers:
    """List the backbones of all kinds of input.

    Args:
        find: A part of the name or of the place that they must have, in any case; None, the default, for all
            that are here.
    """
    found = [offer for name in list_modalities() for offer in _of_kind(name, find)]
    here = tuple(offer for offer in found if offer.is_here and _has(offer, find))
    elsewhere = tuple(offer for offer in found if not offer.is_here and _has(offer, find))
    return Offers(here, elsewhere[:MOST_LISTED], max(0, len(elsewhere) - MOST_LISTED))


def list_well_known(kind: str) -> tuple[tuple[str, float], ...]:
    """List well-known backbones of several sizes, whose weights would be downloaded.

    Args:
        kind: The kind of input.

    Returns:
        Each one's name and its published number of parameters in millions; none for kinds that list none.
    """
    place = f"{find_modality(kind).room}.listing"
    if importlib.util.find_spec(place) is None:
        return ()
    known: tuple[tuple[str, float], ...] = getattr(importlib.import_module(place), "WELL_KNOWN", ())
    return known


def _has(offer: Offer, find: str | None) -> bool:
    """Say whether a text is in what names a backbone."""
    words = f"{offer.name}\n{offer.weights}\n{offer.place}".lower()
    return find is None or find.lower() in words


def _of_kind(name: str, find: str | None) -> Iterator[Offer]:
    """Yield what a kind lists in the module ``listing`` of its room, if it has one."""
    place = f"{find_modality(name).room}.listing"
    if importlib.util.find_spec(place) is not None:
        yield from importlib.import_module(place).list_offers(find)
