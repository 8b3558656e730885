"""One family of pictures' networks, from a file of weights to its exported form, as a row of a table."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.families.pictures import Family
from benchmarks.families.row import Row
from pipeline.errors import GraftError

CLASSES, PICTURES = 3, 4
TOLERANCE = 1e-3
"""Largest difference of a probability between torch and ONNX Runtime."""


def row_of(family: Family, folder: Path) -> Row:
    """Load, try, train for a step, export and compare a family in an empty folder, and say what became of it.

    Args:
        family: The family.
        folder: The folder, which is to hold the file of weights.
    """
    from pipeline.modalities.image import training as pictures

    write_weights(family.name, folder / "weights.safetensors")
    begun = time.monotonic()
    try:
        pretrained = pictures.load_pretrained(recipe_of(family, folder / "weights.safetensors"))
        try_it(pretrained, family.name)
    except GraftError as error:
        reason = str(error)
        outcome = "fails" if "\n" in reason or "\x1b" in reason else "refused"
        return Row(family.key, outcome, time.monotonic() - begun, reason)
    except Exception:
        return Row(family.key, "fails", time.monotonic() - begun, f"at load: {traceback.format_exc()}")
    try:
        difference = train_and_export(pretrained)
    except Exception:
        return Row(family.key, "fails", time.monotonic() - begun, f"after load: {traceback.format_exc()}")
    row = Row(family.key, "passes", time.monotonic() - begun)
    if not difference <= TOLERANCE:
        return replace(row, outcome="fails", reason=f"ONNX differs from torch by {difference:.2g}")
    return row


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


def recipe_of(family: Family, weights: Path):
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


def try_it(pretrained, name: str) -> None:
    """Carry out the trial that every backbone undergoes before anything is trained."""
    from pipeline.finetune.start.features import Extractor
    from pipeline.finetune.start.trial import try_backbone
    from pipeline.machine.settings import Settings
    from pipeline.modalities.image import training as pictures

    try_backbone(Extractor(pretrained, Settings("cpu", "fp32", threads=1, why="trial"), pictures), name)


def train_and_export(pretrained) -> float:
    """Train a step, save and load the checkpoint, export it, and return how far ONNX is from torch.

    Returns:
        The largest difference of a probability on a few pictures, alone and together.
    """
    import torch

    from pipeline.artifacts.onnx import to_onnx
    from pipeline.artifacts.sessions import create_session
    from pipeline.export.classifier import ServedClassifier
    from pipeline.modalities.image import training as pictures

    preprocessor, classifier = pretrained.preprocessor, pretrained.classifier
    chance = np.random.default_rng(1)
    shape = preprocessor.blank().shape
    samples = [chance.integers(0, 256, shape, dtype=np.uint8) for _ in range(PICTURES)]
    feeds = {name: torch.from_numpy(array) for name, array in preprocessor.collate(samples).items()}
    with torch.inference_mode():
        width = classifier.embed(**feeds).shape[1]
    classifier.set_head(
        chance.normal(0, 0.1, (CLASSES, width)).astype(np.float32), np.zeros(CLASSES, np.float32)
    )
    step(classifier, feeds)
    rebuilt = pictures.build_classifier(pretrained.network, CLASSES)
    rebuilt.saved().load_state_dict(classifier.saved().state_dict())
    rebuilt.saved().eval()
    served = ServedClassifier(rebuilt, 1.0).eval()
    with torch.inference_mode():
        expected = served(**feeds).numpy()
    model = to_onnx(
        served,
        preprocessor.collate(samples[:2]),
        output_name="probabilities",
        metadata={},
        dynamic_axes=pictures.DYNAMIC_AXES,
    )
    session = create_session(model)
    together = session.run(None, preprocessor.collate(samples))[0]
    alone = [session.run(None, preprocessor.collate([sample]))[0][0] for sample in samples]
    return float(max(np.abs(together - expected).max(), np.abs(np.stack(alone) - expected).max()))


def step(classifier, feeds) -> None:
    """Train everything for one step at the rates of its layers."""
    import torch

    module = classifier.saved().train()
    classifier.prepare()
    groups = classifier.parameter_groups(1e-4, 0.8, 0.01)
    optimizer = torch.optim.AdamW(groups)
    targets = torch.arange(len(next(iter(feeds.values())))) % CLASSES
    torch.nn.functional.cross_entropy(classifier(**feeds), targets).backward()
    still = [name for name, value in module.named_parameters() if value.grad is None]
    if still:
        raise AssertionError(f"{len(still)} parameters do not train, such as {still[0]}")
    optimizer.step()
    module.eval()
