"""The backbones that ``--suggest`` adds: those that are here, within a budget, and names of further ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.compare.entries import of_offer
from pipeline.modalities.offers import Offer
from pipeline.recipe.sections import Recipe

# Well-known networks of several sizes, and their published millions of parameters. Their weights are
# downloaded, so they are named and not tried unless the user names them.
NAMED = {
    "image": (
        ("mobilenetv4_conv_small.e2400_r224_in1k", 3.8),
        ("mobilenetv3_large_100.ra_in1k", 5.5),
        ("resnet18.a1_in1k", 11.7),
        ("vit_small_patch14_dinov2.lvd142m", 22.1),
        ("convnext_tiny.fb_in22k", 28.6),
        ("vit_base_patch14_dinov2.lvd142m", 86.6),
    ),
    "text": (
        ("sentence-transformers/paraphrase-MiniLM-L3-v2", 17.4),
        ("sentence-transformers/all-MiniLM-L6-v2", 22.7),
        ("BAAI/bge-small-en-v1.5", 33.4),
        ("distilbert/distilbert-base-uncased", 66.4),
        ("sentence-transformers/all-mpnet-base-v2", 109.5),
    ),
}
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
        for name, millions in NAMED.get(recipe.modality, ())
        if name not in known
        and name.partition(".")[0] not in known
        and (most_parameters is None or millions * 1e6 <= most_parameters)
    ]
    return Suggestions(tuple(of_offer(recipe, offer) for offer in fitting), tuple(named))
