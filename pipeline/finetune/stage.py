"""The stage ``finetune``: frozen features, a linear head on them, then everything from there."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.finetune.features import Extractor
from pipeline.finetune.head import GENTLE, PENALTIES, LinearHead, train_head
from pipeline.finetune.loop import Outcome, Split, Trainer
from pipeline.machine.settings import Settings, apply_settings, choose_settings
from pipeline.modalities.registry import modality_of
from pipeline.recipe.sections import Recipe

log = logging.getLogger("graft")
UNBALANCED = 1.5
# Enough for the head that full fine-tuning starts from; that head alone, `mode: features`, is trained on
# everything.
START_SAMPLES = 4096


def finetune(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's checkpoint. The test split is not read."""
    settings = choose_settings(recipe.finetune.device, recipe.finetune.precision)
    apply_settings(settings, recipe.seed)
    modality = modality_of(recipe)
    options = modality.training_options(recipe.finetune)
    pretrained = modality.load_pretrained(recipe)
    everything = read_samples(run)
    labels = labels_of(everything)
    by_split = {
        split: [sample for sample in everything if sample.split == split] for split in ("train", "validation")
    }

    def load(split: str) -> Split:
        samples = by_split[split]
        augment = options.augment if split == "train" else None
        examples = modality.decode_examples(samples, pretrained.preprocessor, run.scratch(split), augment)
        return Split(examples, np.array([labels.index(sample.label) for sample in samples]))

    train, validation = load("train"), load("validation")
    weights = class_weights(train.targets, len(labels), recipe.finetune.class_weights)

    extractor = Extractor(pretrained, settings, modality)

    def features(name: str, split: Split, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return extractor.extract(split.examples, indices, [by_split[name][index].sha256 for index in indices])

    full = recipe.finetune.mode == "full"
    chosen = spread(train.targets, START_SAMPLES if full else len(train))
    judged = features("validation", validation, np.arange(len(validation)))
    head = train_head(
        (features("train", train, chosen), train.targets[chosen]),
        (judged, validation.targets),
        balanced=weights is not None,
        penalties=GENTLE if full else PENALTIES,
    )
    log.info("head: trained on the features of %d %s, penalty %g", len(chosen), modality.UNIT, head.penalty)
    pretrained.classifier.set_head(head.weight, head.bias)

    section = recipe.finetune if full else recipe.finetune.model_copy(update={"epochs": 0})
    trainer = Trainer(
        pretrained.classifier,
        section,
        settings,
        recipe.seed,
        None if weights is None else torch.from_numpy(weights),
        modality.UNIT,
        options,
    )
    # On a CPU the cached features are exact; on an accelerator they may be of half precision, good to start
    # from only.
    start = head.logits(judged) if settings.device == "cpu" else trainer.logits(validation.examples)
    outcome = trainer.fit(train, validation, start)
    card = CheckpointCard(pretrained.network, labels, pretrained.input, pretrained.weights_sha256)
    judgement = Validation(outcome.validation_logits, validation.targets)
    save_checkpoint(
        run.checkpoint,
        outcome.state,
        card,
        pretrained.files,
        judgement,
        record(settings, weights, head, outcome),
    )
    log.info("finetune: kept epoch %d of %d", outcome.best_epoch, section.epochs)


def record(
    settings: Settings, weights: NDArray[np.float32] | None, head: LinearHead, outcome: Outcome
) -> dict[str, Any]:
    """What ``history.json`` says of a training."""
    return {
        "settings": asdict(settings),
        "class_weights": None if weights is None else weights.tolist(),
        "head": {"penalty": head.penalty},
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.records(),
    }


def class_weights(targets: NDArray[np.int64], classes: int, choice: str) -> NDArray[np.float32] | None:
    """Weights inverse to the classes' sizes, with a mean of 1 over the samples; None where they are not wanted.

    Args:
        targets: Class indices of the training split.
        classes: How many classes there are.
        choice: ``balanced``, ``none``, or ``auto``: balanced when the largest class has over 1.5 times the
            smallest.
    """
    counts = np.bincount(targets, minlength=classes)
    if choice == "none" or (choice == "auto" and counts.max() <= UNBALANCED * counts.min()):
        return None
    return (len(targets) / (classes * counts)).astype(np.float32)


def spread(targets: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """The indices of at most about ``limit`` samples, evenly spread over the split, with every class among them."""
    even = np.linspace(0, len(targets) - 1, min(limit, len(targets))).round().astype(np.int64)
    first = np.unique(targets, return_index=True)[1]
    return np.union1d(even, first)
