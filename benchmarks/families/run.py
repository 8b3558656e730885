"""One family of pictures' networks, from a file of weights to its exported form, as a row of a table."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.families.pictures import Family
from benchmarks.families.row import Row
from pipeline.errors import GraftError

if TYPE_CHECKING:
    from pipeline.modalities.image.recipe import ImageRecipe
    from pipeline.modalities.training import Batch, Classifier, Pretrained

CLASSES, PICTURES = 3, 4
TOLERANCE = 1e-3
"""Largest difference between the trained network and the one of its card, as a share of the largest logit."""


def row_of(family: Family, folder: Path) -> Row:
    """Load, train for a step, rebuild, try and export a family in an empty folder; say what became of it.

    The trial comes last here, and not before the training, so that what it exports, and compares with torch
    alone and in batches, is the trained network.

    Args:
        family: The family.
        folder: The folder, which is to hold the file of weights.
    """
    from pipeline.modalities.image import training as pictures

    os.environ["GRAFT_CACHE"] = str(folder / "cache")  # no earlier trial counts
    write_weights(family.name, folder / "weights.safetensors")
    begun = time.process_time()  # on a busy machine the clock would measure the others
    try:
        pretrained = pictures.load_pretrained(recipe_of(family, folder / "weights.safetensors"))
        train(pretrained)
        try_it(pretrained, family.name)
    except GraftError as error:
        reason = str(error)
        outcome = "fails" if "\n" in reason or "\x1b" in reason else "refused"
        return Row(family.key, outcome, time.process_time() - begun, reason)
    except Exception:
        return Row(family.key, "fails", time.process_time() - begun, traceback.format_exc())
    return Row(family.key, "passes", time.process_time() - begun)


def write_weights(name: str, path: Path) -> None:
    """Write a network's random weights, with batch statistics that are not those of a new network."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(name)
    for module in network.modules():
        if isinstance(getattr(module, "running_mean", None), torch.Tensor):
            torch.nn.init.normal_(module.running_mean, std=0.1)
    save_file({key: value.contiguous().clone() for key, value in network.state_dict().items()}, path)


def recipe_of(family: Family, weights: Path) -> ImageRecipe:
    """Return the recipe of a family's backbone."""
    from pipeline.modalities.image.recipe import ImageRecipe

    return ImageRecipe.model_validate(
        {
            "name": "family",
            "data": {"source": "none"},
            "backbone": {"name": family.name, "weights": str(weights)},
            "image": {"size": family.size_px},
        }
    )


def try_it(pretrained: Pretrained, name: str) -> None:
    """Carry out the trial that every backbone undergoes before anything is trained."""
    from pipeline.finetune.start.features import Extractor
    from pipeline.finetune.start.trial import try_backbone
    from pipeline.machine.settings import Settings
    from pipeline.modalities.image import training as pictures

    try_backbone(Extractor(pretrained, Settings("cpu", "fp32", threads=1, why="trial"), pictures), name)


def train(pretrained: Pretrained) -> None:
    """Set a head, train a step, and load what was trained into a network built from the checkpoint's card."""
    import torch

    from pipeline.modalities.image import training as pictures

    preprocessor, classifier = pretrained.preprocessor, pretrained.classifier
    chance = np.random.default_rng(1)
    shape = preprocessor.blank().shape
    samples = [chance.integers(0, 256, shape, dtype=np.uint8) for _ in range(PICTURES)]
    feeds = {name: torch.from_numpy(array) for name, array in preprocessor.collate(samples).items()}
    with torch.no_grad():
        width = classifier.embed(**feeds).shape[1]
    classifier.set_head(
        chance.normal(0, 0.1, (CLASSES, width)).astype(np.float32), np.zeros(CLASSES, np.float32)
    )
    step(classifier, feeds)
    rebuilt = pictures.build_classifier(pretrained.network, CLASSES)
    rebuilt.saved().load_state_dict(classifier.saved().state_dict())
    rebuilt.saved().eval()
    with torch.no_grad():
        expected = classifier(**feeds)
        difference = (rebuilt(**feeds) - expected).abs().max() / expected.abs().max()
    if not difference <= TOLERANCE:
        raise AssertionError(f"the network of the card differs by {float(difference):.2g} of the largest")


def step(classifier: Classifier, feeds: Batch) -> None:
    """Train everything for one step at the rates of its layers."""
    import torch

    module = classifier.saved().train()
    classifier.prepare()
    groups = classifier.parameter_groups(1e-4, 0.8, 0.01)
    optimizer = torch.optim.AdamW(groups)
    targets = torch.arange(len(next(iter(feeds.values())))) % CLASSES
    torch.nn.functional.cross_entropy(classifier(**feeds), targets).backward()
    parameters = dict(module.named_parameters())
    still = [name for name, value in parameters.items() if value.grad is None]
    # Some networks hold a few that only their own heads used.
    if len(still) > len(parameters) / 10:
        raise AssertionError(f"{len(still)} of {len(parameters)} parameters do not train, such as {still[0]}")
    optimizer.step()
    module.eval()
