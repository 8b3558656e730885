"""The backbones that ``--suggest`` adds: those that are here, within a budget, and names of further ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.compare.entries import of_offer
from pipeline.modalities.offers import Offer
from pipeline.recipe.sections import Recipe
from pipeline.run.backbones import list_well_known

BECAUSE = "not tried: its weights would be downloaded; name it in --backbones to try it"


@dataclass(frozen=True)
class Suggestions:
    """What is suggested.

    Attributes:
        recipes: A recipe for each backbone that is here and fits.
        named: Names of further ones that fit, whose weights would be downloaded.
    """

    recipes: tuple[Recipe, ...]
    named: tuple[str, ...]


def suggest(recipe: Recipe, here: Sequence[Offer], most_parameters: int | None) -> Suggestions:
    """Return the backbones that fit a budget, but not the recipe's own weights under another name.

    Args:
        recipe: The recipe.
        here: All backbones that are on this machine.
        most_parameters: Number of parameters at most; None for any. Those whose number is not known are
            tried: it is counted when they are loaded.
    """
    fitting = [
        offer
        for offer in here
        if offer.kind == recipe.modality
        and offer.name is not None
        and (offer.weights == "hub" or offer.weights != recipe.backbone.weights)
        and (most_parameters is None or offer.parameters is None or offer.parameters <= most_parameters)
    ]
    known = {recipe.backbone.name.partition(".")[0], *(offer.name for offer in fitting)}
    named = [
        name
        for name, millions in list_well_known(recipe.modality)
        if name not in known
        and name.partition(".")[0] not in known
        and (most_parameters is None or millions * 1e6 <= most_parameters)
    ]
    return Suggestions(tuple(of_offer(recipe, offer) for offer in fitting), tuple(named))
