"""The opening of a recipe's backbone: loaded, tried, and refused in one line where it cannot be used."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from pipeline.errors import GraftError
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.half import bf16_fault
from pipeline.finetune.start.trial import try_backbone
from pipeline.finetune.strategies.modes import has_grouped_convolutions
from pipeline.machine.processes import ALONE, Processes
from pipeline.machine.settings import Settings, choose_settings, suit_network
from pipeline.modalities.hub import cache_where_unreachable
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.registry import modality_of
from pipeline.modalities.training import Pretrained, Training
from pipeline.recipe.sections import Recipe

log = logging.getLogger("graft")


def open_backbone(recipe: Recipe, settings: Settings, processes: Processes = ALONE) -> Extractor:
    """Load a recipe's backbone and try it.

    Args:
        recipe: The run's recipe.
        settings: Device and precision of the training, which what the network is made of may change.
        processes: The processes that share the training; by default this one is alone.

    Raises:
        GraftError: The backbone cannot be had, or cannot be fine-tuned or served.
    """
    modality, section = modality_of(recipe), recipe.finetune
    pretrained = _load(recipe, modality)
    grouped = has_grouped_convolutions(pretrained.classifier.saved())
    fault = bf16_fault(pretrained, settings)
    settings = suit_network(settings, section.precision, has_grouped_convolutions=grouped, bf16_fault=fault)
    extractor = Extractor(pretrained, settings, modality, processes)
    try_backbone(extractor, recipe.backbone.name)
    return extractor


def _load(recipe: Recipe, modality: Training) -> Pretrained:
    """Load a recipe's backbone; GraftError, in one line, for whatever the kind's libraries raise."""
    backbone = recipe.backbone
    try:
        with cache_where_unreachable() if backbone.weights == "hub" else nullcontext():
            return modality.load_pretrained(recipe)
    except (GraftError, MemoryError):
        raise
    except Exception as error:  # each library and each architecture fails in its own way
        log.debug("finetune: %s", backbone.name, exc_info=True)
        raise GraftError(
            f"backbone: {backbone.name} cannot be loaded ({type(error).__name__}: {reason_of(error)}). "
            "Check its files, or choose another."
        ) from error


def check(recipe: Recipe) -> None:
    """Load and try a recipe's backbone, so that one which cannot be used is refused before data are read.

    Raises:
        GraftError: It cannot be had, or cannot be fine-tuned or served.
    """
    open_backbone(recipe, choose_settings(recipe.finetune.device, recipe.finetune.precision))
