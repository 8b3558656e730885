"""The same network from random weights, trained for as long as the recipe says."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.course.epochs import Chosen
from pipeline.finetune.course.loop import train
from pipeline.finetune.plan import Keeping, Plan, Rates
from pipeline.finetune.stage import Started
from pipeline.finetune.start.heads import LinearHead
from pipeline.finetune.start.prepared import Prepared, Split, floor_of, spread
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Classifier, Examples

log = logging.getLogger("graft")
# The usual rate of AdamW for a network that starts from nothing.
RATES = Rates(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)
# Steps whose time is not counted, since the first ones also reserve memory, and the share of the time in
# which the speed of the next ones is measured.
WARM_UP_STEPS, MEASURING_SHARE, FEWEST_MEASURED = 2, 0.1, 2
# A sample without gradients takes a third of a step's time; an epoch ends with validation and a look back.
VALIDATION_SHARE = 1 / 3
MOST_VALIDATED = 1_000
FEWEST_OF_A_CLASS = 2
# Numbers of epochs, so far apart that the same machine comes to the same one, though its speed varies.
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)


@dataclass(frozen=True)
class Scratch:
    """A network that was trained from random weights.

    Attributes:
        logits: Its logits on the test split, float32 of shape (samples, classes).
        told: One sentence on how it was trained.
        seconds: Seconds that the training took.
    """

    logits: NDArray[np.float32]
    told: str
    seconds: float


@dataclass(frozen=True)
class _Size:
    """How much fits into the time.

    Attributes:
        samples: Number of training samples.
        epochs: Number of passes over them.
    """

    samples: int
    epochs: int


def train_from_scratch(started: Started, test: Examples, seconds: float) -> Scratch:
    """Train a run's network from random weights, and answer the test split.

    It sees the same samples with the same random changes, and what is best on validation is kept. As many
    epochs are planned as fit into the time at the speed of its first steps; where not even one does, it is
    trained on as many samples as fit, evenly spread.

    Args:
        started: What the fine-tuning starts from: samples, settings and plan.
        test: Decoded samples of the test split.
        seconds: Seconds that the training may take.

    Raises:
        GraftError: The network cannot be trained from random weights.
    """
    start = time.perf_counter()
    prepared, plan = _with_random_weights(started), _plan_of(started.plan)
    size = _fitting(_speed_of(prepared, plan, seconds), prepared, seconds)
    prepared, plan = _limited(prepared, size), replace(plan, epochs=size.epochs)
    log.info("transfer: from random weights, %d %s, epochs: %d", size.samples, prepared.unit, size.epochs)
    kept = train(prepared, plan, Full(head_first=False)).kept
    classifier = prepared.classifier
    classifier.saved().load_state_dict(dict(kept.state))
    classifier.prepare()
    took = time.perf_counter() - start
    logits = compute_logits(classifier, test, "cpu", "test", prepared.unit)
    told = (
        f"trained in {took:.0f} s on {size.samples} {prepared.unit}, epochs: {size.epochs}, of which"
        f" {kept.name} is the best on validation"
    )
    return Scratch(logits, told, took)


def _with_random_weights(started: Started) -> Prepared:
    """Return what a training from random weights starts from: no head is fitted, and nothing is known."""
    prepared, modality = started.prepared, started.modality
    classes = len(started.labels)
    torch.manual_seed(started.plan.seed)
    classifier: Classifier = modality.build_classifier(started.pretrained.network, classes)
    shape = prepared.best_head.weight.shape
    head = LinearHead(np.zeros(shape, np.float32), np.zeros(classes, np.float32), penalty=0.0)
    classifier.set_head(head.weight, head.bias)
    few = spread(prepared.validation.targets, MOST_VALIDATED)
    validation = (
        prepared.validation if len(few) == len(prepared.validation) else _part(prepared.validation, few)
    )
    logits = np.zeros((len(validation), classes), np.float32)
    return replace(
        prepared,
        classifier=classifier,
        validation=validation,
        floor=floor_of(classifier, logits, validation.targets, prepared.task),
        best_head=head,
        gentle_head=head,
    )


def _plan_of(plan: Plan) -> Plan:
    """Return the plan of a training from random weights, whose batch statistics are its own."""
    return replace(
        plan, rates=RATES, keeping=Keeping(), freeze_batch_norm=False, dropout=None, drop_path=None
    )


def _speed_of(prepared: Prepared, plan: Plan, seconds: float) -> float:
    """Return how many samples train in a second, by the first steps of a training that is thrown away."""
    training = Training(prepared, plan, Full(head_first=False))
    losses = training.losses()
    for _ in range(WARM_UP_STEPS):
        next(losses)
    start, steps, passed = time.perf_counter(), 0, 0.0
    while steps < FEWEST_MEASURED or passed < MEASURING_SHARE * seconds:
        next(losses)
        steps, passed = steps + 1, time.perf_counter() - start
    batch = len(prepared.train) / plan.steps_an_epoch(len(prepared.train))
    return steps * batch / passed


def _fitting(speed: float, prepared: Prepared, seconds: float) -> _Size:
    """Return how many epochs of how many samples fit into the time, at a speed in samples a second."""
    whole, rest = len(prepared.train), 2 * VALIDATION_SHARE * len(prepared.validation)
    possible = speed * seconds * (1 - MEASURING_SHARE)
    epochs = int(possible / (whole + rest))
    if epochs >= 1:
        return _Size(whole, max(each for each in EPOCHS if each <= epochs))
    classes = len(prepared.best_head.bias)
    return _Size(min(whole, max(int(possible - rest), FEWEST_OF_A_CLASS * classes)), 1)


def _limited(prepared: Prepared, size: _Size) -> Prepared:
    """Return the same with fewer training samples, evenly spread, where not all fit into the time."""
    if size.samples >= len(prepared.train):
        return prepared
    return replace(prepared, train=_part(prepared.train, spread(prepared.train.targets, size.samples)))


def _part(split: Split, chosen: NDArray[np.int64]) -> Split:
    """Return some samples of a split."""
    return Split(
        Chosen(split.examples, chosen),
        split.targets[chosen],
        [split.sha256[index] for index in chosen] if split.sha256 else (),
        None if split.soft is None else split.soft[chosen],
        None if split.weights is None else split.weights[chosen],
    )
