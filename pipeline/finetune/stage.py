"""The stage ``finetune``: frozen features, a linear head on them, then everything from there."""

from __future__ import annotations

import logging
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.data.samples import labels_of, read_samples
from pipeline.errors import GraftError
from pipeline.finetune.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.finetune.features import FeatureExtractor, cache_folder, extract_features, features_key
from pipeline.finetune.head import GENTLE, PENALTIES, LinearHead, train_head
from pipeline.finetune.loop import Split, Trainer
from pipeline.finetune.pixels import decode_samples
from pipeline.layout import RunFolder
from pipeline.machine import apply_settings, choose_settings
from pipeline.modalities.image import create_pretrained, describe_input
from pipeline.modalities.weights import hash_tensors
from pipeline.recipe import Recipe

log = logging.getLogger("graft")
UNBALANCED = 1.5


def finetune(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's checkpoint. The test split is not read."""
    settings = choose_settings(recipe.finetune)
    apply_settings(settings, recipe.seed)
    backbone = create_pretrained(recipe.backbone)
    weights_sha256 = hash_tensors(backbone.state_dict())
    spec, normalisation = describe_input(backbone, recipe.image)
    everything = read_samples(run)
    labels = labels_of(everything)
    samples = [s for split in ("train", "validation") for s in everything if s.split == split]
    count = sum(sample.split == "train" for sample in samples)
    pixels = decode_samples(samples, spec, run.root / ".pixels.npy")
    targets = np.array([labels.index(sample.label) for sample in samples])
    weights = class_weights(targets[:count], len(labels), recipe.finetune.class_weights)

    cache = cache_folder() / "features" / f"{features_key(recipe.backbone.name, weights_sha256, spec, normalisation, settings)}.npz"
    features = extract_features(FeatureExtractor(backbone, normalisation), pixels, [s.sha256 for s in samples], cache, settings)
    head = train_head(
        (features[:count], targets[:count]),
        (features[count:], targets[count:]),
        balanced=weights is not None,
        penalties=GENTLE if recipe.finetune.mode == "full" else PENALTIES,
    )
    log.info("head: trained on the features, penalty %g", head.penalty)
    model = attach_head(backbone, head)

    section = recipe.finetune if recipe.finetune.mode == "full" else recipe.finetune.model_copy(update={"epochs": 0})
    trainer = Trainer(model, normalisation, section, settings, recipe.seed, None if weights is None else torch.from_numpy(weights))
    train, validation = Split(pixels[:count], targets[:count]), Split(pixels[count:], targets[count:])
    # On a CPU the cached features are exact; on an accelerator they may be of half precision, good to start from only.
    start = head.logits(features[count:]) if settings.device == "cpu" else trainer.logits(validation.pixels)
    outcome = trainer.fit(train, validation, start)
    card = CheckpointCard(recipe.backbone.name, labels, spec, normalisation, weights_sha256)
    history = {
        "settings": asdict(settings),
        "class_weights": None if weights is None else weights.tolist(),
        "head": {"penalty": head.penalty},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.records(),
    }
    save_checkpoint(run.checkpoint, outcome.state, card, Validation(outcome.validation_logits, targets[count:]), history)
    log.info("finetune: kept epoch %d of %d", outcome.best_epoch, section.epochs)


def class_weights(targets: NDArray[np.int64], classes: int, choice: str) -> NDArray[np.float32] | None:
    """Weights inverse to the classes' sizes, with a mean of 1 over the samples; None where they are not wanted.

    Args:
        targets: Class indices of the training split.
        classes: How many classes there are.
        choice: ``balanced``, ``none``, or ``auto``: balanced when the largest class has over 1.5 times the smallest.
    """
    counts = np.bincount(targets, minlength=classes)
    if choice == "none" or (choice == "auto" and counts.max() <= UNBALANCED * counts.min()):
        return None
    return (len(targets) / (classes * counts)).astype(np.float32)


def attach_head(backbone: nn.Module, head: LinearHead) -> nn.Module:
    """Give the backbone the linear head in place of its pretrained one.

    Raises:
        GraftError: Its head has another form, such as a distilled network's two.
    """
    backbone.reset_classifier(len(head.bias))  # type: ignore[operator]
    classifier = backbone.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        raise GraftError(
            f"backbone.name: the head of {type(backbone).__name__} is not one linear layer, which is what Graft trains. Choose another."
        )
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(head.weight))
        classifier.bias.copy_(torch.from_numpy(head.bias))
    return backbone
