"""The spaces that are searched where the recipe names none, one for each way to train."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.recipe.search import Dimension
from pipeline.recipe.sections import Recipe

# Heads: the range of penalties that a head is tried with where its penalty is chosen, and wider by half.
HEAD = {"finetune.penalty": Dimension(low=1e-4, high=10.0, log=True, points=11)}
STRENGTH = {"finetune.logit_adjustment": Dimension(low=0.0, high=1.0, points=3)}
TRAINED = {
    "finetune.learning_rate": Dimension(low=3e-5, high=3e-3, log=True, points=5),
    "finetune.weight_decay": Dimension(low=1e-3, high=0.3, log=True, points=3),
    "finetune.layer_decay": Dimension(low=0.6, high=1.0, points=3),
    "finetune.label_smoothing": Dimension(low=0.0, high=0.2, points=3),
}
ADAPTED = {
    "finetune.learning_rate": Dimension(low=1e-4, high=1e-2, log=True, points=5),
    "finetune.lora.rank": Dimension(choices=(2, 4, 8, 16)),
    "finetune.lora.dropout": Dimension(low=0.0, high=0.3, points=3),
    "finetune.label_smoothing": Dimension(low=0.0, high=0.2, points=3),
}


def default_space(recipe: Recipe) -> Mapping[str, Dimension]:
    """Return the space of a recipe's way to train, whose points are those of a grid."""
    section = recipe.finetune
    if section.mode == "lora":
        return ADAPTED
    if section.mode != "features":
        return TRAINED
    # Shares that are taken out always cost calibrated loss, and the recipe has one cure of classes of unequal
    # size at most.
    cured = section.class_weights == "balanced" or section.sampling == "balanced"
    return HEAD if cured or recipe.search.objective == "loss" else HEAD | STRENGTH
