"""The stage ``transfer``: the opponents of the fine-tuned model are fitted, and answer the test split."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, read_samples
from pipeline.finetune.stage import Started, start
from pipeline.finetune.start.adjustment import shift_of
from pipeline.finetune.start.imbalance import Balance
from pipeline.measures.records import Measure
from pipeline.modalities.training import Examples
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.tasks.task import Task
from pipeline.transfer.records import Answered, OpponentRecord, OpponentsRecord, write_answers
from pipeline.transfer.scratch import train_from_scratch

log = logging.getLogger("graft")
HEAD = "the best linear head on frozen features"
SCRATCH = "the same network from random weights"
LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Fitted:
    """An opponent with its answers to the test split.

    Attributes:
        record: The opponent.
        answers: Class indices, int64 of shape (samples,).
    """

    record: OpponentRecord
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class Test:
    """The test split.

    Attributes:
        samples: The samples.
        examples: The same, decoded.
    """

    samples: Sequence[Sample]
    examples: Examples


def fit_opponents(recipe: Recipe, run: RunFolder) -> None:
    """Fit the opponents on the training split, and write their answers to the test split.

    Args:
        recipe: The run's recipe.
        run: The run's folder, in which ``transfer/`` is replaced in one step.

    Raises:
        GraftError: The backbone cannot be had.
    """
    started = start(recipe, run)
    modality, preprocessor = started.modality, started.pretrained.preprocessor
    samples = [sample for sample in read_samples(run) if sample.split == "test"]
    examples = modality.decode_examples(samples, preprocessor, run.scratch("test"))
    left_out: list[str] = []
    opponents = list(_fit_all(recipe, run, started, Test(samples, examples), left_out))
    for fitted in opponents:
        log.info("transfer: %s: %s", fitted.record.name, fitted.record.told)
    for reason in left_out:
        log.warning("transfer: %s", reason)
    record = OpponentsRecord(
        measure=measure_of(started.prepared.balance),
        opponents=tuple(fitted.record for fitted in opponents),
        left_out=tuple(left_out),
    )
    answers = np.array([fitted.answers for fitted in opponents], np.int64).reshape(-1, len(samples))
    write_answers(run, Answered(record, answers, tuple(sample.sha256 for sample in samples)))


def measure_of(balance: Balance) -> Measure:
    """Return what models are compared by: the mean of the classes' recalls where training balances them."""
    balanced = balance.head_weights is not None or balance.adjustment > 0
    return "balanced_accuracy" if balanced else "accuracy"


def _fit_all(
    recipe: Recipe, run: RunFolder, started: Started, test: Test, left_out: list[str]
) -> Iterator[Fitted]:
    """Fit each opponent, and note those that cannot be had."""
    task = task_of(recipe)
    yield _fit_head(started, test, task)
    classic = _fit_classic(recipe, run, started, test, task)
    if classic is None:
        left_out.append("a classic model without transfer: this kind of input has none for these samples")
    else:
        yield classic
    seconds = recipe.transfer.scratch_seconds
    if seconds == 0:
        left_out.append(f"{SCRATCH}: transfer.scratch_seconds is 0")
        return
    try:
        scratch = train_from_scratch(started, test.examples, seconds)
    except GraftError as error:
        left_out.append(f"{SCRATCH}: it cannot be trained ({error})")
        return
    adjusted = scratch.logits + _shift(started, started.prepared.balance.adjustment)
    record = OpponentRecord(name=SCRATCH, is_transfer=False, seconds=scratch.seconds, told=scratch.told)
    yield Fitted(record, task.answers(task.probabilities(adjusted)))


def _fit_head(started: Started, test: Test, task: Task) -> Fitted:
    """Return the best head on frozen features, which the fine-tuning starts from."""
    begin, head = time.perf_counter(), started.prepared.best_head
    hashes = [sample.sha256 for sample in test.samples]
    features = started.extractor.extract(test.examples, np.arange(len(hashes)), hashes)
    logits = head.logits(features) + _shift(started, started.prepared.balance.adjustment)
    told = f"logistic regression with a penalty of {head.penalty:g} on {features.shape[1]} features"
    record = OpponentRecord(name=HEAD, is_transfer=True, seconds=time.perf_counter() - begin, told=told)
    return Fitted(record, task.answers(task.probabilities(logits)))


def _fit_classic(recipe: Recipe, run: RunFolder, started: Started, test: Test, task: Task) -> Fitted | None:
    """Return the classic model of the kind of input; None where it has none."""
    begin = time.perf_counter()
    train = [sample for sample in read_samples(run) if sample.split == "train"]
    model = started.modality.fit_baseline(train, started.prepared.train.targets, recipe.seed)
    if model is None:
        return None
    probabilities = model.probabilities(test.samples)
    balance = started.prepared.balance
    logits = np.log(np.clip(probabilities, LEAST_PROBABILITY, None)) + _shift(started, balance.strength)
    told = f"fitted on {len(train)} {started.prepared.unit}"
    record = OpponentRecord(
        name=model.name, is_transfer=False, seconds=time.perf_counter() - begin, told=told
    )
    return Fitted(record, task.answers(task.probabilities(logits)))


def _shift(started: Started, strength: float) -> NDArray[np.float32]:
    """Return what takes the classes' shares out of logits, float32 of shape (classes,)."""
    return shift_of(np.array(started.prepared.balance.sizes), strength)
