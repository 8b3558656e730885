"""The stage ``finetune``: frozen features, a linear head on them, then what the strategy trains."""

from __future__ import annotations

import logging

import numpy as np

from pipeline.artifacts.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.artifacts.history import HeadRecord, History
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.finetune.loop import Outcome, train
from pipeline.finetune.plan import plan_of
from pipeline.finetune.prepared import Prepared, Split, balance, prepare
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.machine.settings import Settings, apply_settings, choose_settings
from pipeline.modalities.registry import modality_of
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

log = logging.getLogger("graft")


def finetune(recipe: Recipe, run: RunFolder) -> None:
    """Train the recipe's network, and write the run's checkpoint. The test split is not read.

    Args:
        recipe: The run's recipe.
        run: The run's folder, in which ``checkpoint/`` is replaced in one step.

    Raises:
        GraftError: The backbone cannot be had, or the training loss is no longer a number.
    """
    section = recipe.finetune
    settings = choose_settings(section.device, section.precision)
    apply_settings(settings, recipe.seed)
    modality = modality_of(recipe)
    strategy = strategy_named("lp-ft" if section.mode == "auto" else section.mode)
    options = modality.training_options(section)
    pretrained = modality.load_pretrained(recipe)
    everything = read_samples(run)
    labels = labels_of(everything)

    def load(split: str, augment: object = None) -> Split:
        """Decode a split through the code that serves it; the training split alone is augmented."""
        samples = [sample for sample in everything if sample.split == split]
        examples = modality.decode_examples(samples, pretrained.preprocessor, run.scratch(split), augment)
        targets = np.array([labels.index(sample.label) for sample in samples])
        return Split(examples, targets, [sample.sha256 for sample in samples])

    training, validation = load("train", options.augment), load("validation")
    prepared = prepare(
        pretrained,
        training,
        validation,
        class_weights=balance(training.targets, len(labels), section.class_weights),
        settings=settings,
        modality=modality,
        task=task_of(recipe),
    )
    plan = plan_of(section, options, settings, recipe.seed, len(training))
    outcome = train(prepared, plan, strategy)
    save_checkpoint(
        run.checkpoint,
        outcome.kept.state,
        CheckpointCard(pretrained.network, labels, pretrained.input, pretrained.weights_sha256),
        pretrained.files,
        Validation(outcome.kept.logits, validation.targets),
        record(settings, prepared, outcome),
    )
    log.info("finetune: kept %s of %d", outcome.kept.name, len(outcome.epochs) - 1)


def record(settings: Settings, prepared: Prepared, outcome: Outcome) -> History:
    """Return what ``history.json`` says of a training."""
    weights = prepared.class_weights
    return History(
        settings=settings,
        class_weights=None if weights is None else tuple(weights.tolist()),
        head=HeadRecord(penalty=prepared.best_head.penalty),
        best_epoch=outcome.kept.epoch,
        epochs=outcome.epochs,
    )
