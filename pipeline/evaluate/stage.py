"""The stage ``evaluate``: the checkpoint on the test split, calibrated, beside a simple baseline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.augmented import read_sheet
from pipeline.artifacts.checkpoint import Validation, load_checkpoint, read_validation
from pipeline.artifacts.history import read_history
from pipeline.evaluate.gate import require_better_than_guessing, require_metrics, require_no_harm
from pipeline.evaluate.report import Records, Scored, render_report
from pipeline.files import atomic
from pipeline.files.audit import read_audit
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, evenly, read_samples
from pipeline.machine.launch import thread_limit
from pipeline.machine.settings import tune_allocator
from pipeline.measures.calibration import fit_temperature, negative_log_likelihood
from pipeline.measures.metrics import measure
from pipeline.measures.records import Metrics, TransferVerdict, write_metrics
from pipeline.measures.reference import VALIDATION_SAMPLES, Answers, Reference, write_reference
from pipeline.measures.verdict import Opponent, judge_transfer
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.registry import modality_of
from pipeline.modalities.training import Training
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.transfer.records import read_answers
from serving.model.inputs.registry import open_preprocessor

log = logging.getLogger("graft")


@dataclass(frozen=True)
class Part:
    """The samples of a split, or some of them.

    Attributes:
        samples: The samples.
        targets: Class indices of the samples, int64 of shape (samples,).
    """

    samples: Sequence[Sample]
    targets: NDArray[np.int64]


def evaluate(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's metrics, report, temperature and reference.

    Args:
        recipe: The run's recipe.
        run: The run's folder, which holds the checkpoint and the opponents' answers.

    Raises:
        GateFailedError: The model is not better than guessing, a metric misses the recipe's
            ``evaluate.require``, or transfer hurts; the metrics and the report are written all the same.
    """
    tune_allocator()
    torch.set_num_threads(thread_limit())
    modality, task = modality_of(recipe), task_of(recipe)
    everything = read_samples(run)
    reference = answer_samples(everything, run, modality)
    test = _part(everything, "test", reference.labels)
    scored = Scored(
        test.samples,
        test.targets,
        task.probabilities(reference.test.logits),
        task.probabilities(reference.test.logits, reference.temperature),
    )
    verdict = judge_opponents(recipe, run, reference, task.answers(scored.after))
    log.info("transfer: %s", verdict.why)
    metrics = _measure(recipe, reference, scored, verdict)
    records = Records(
        metrics, read_history(run.checkpoint), read_audit(run.audit), read_sheet(run.checkpoint)
    )
    page = render_report(recipe.name, reference.labels, scored, records, modality, task)

    write_reference(run.reference, reference)
    _write_calibration(run, reference.temperature, read_validation(run.checkpoint))
    atomic.write_bytes(run.report, page.encode())
    write_metrics(run.metrics, metrics)
    log.info(
        "evaluate: accuracy %.3f, macro F1 %.3f, AUROC %.3f, ECE %.3f",
        metrics.accuracy,
        metrics.macro_f1,
        metrics.auroc,
        metrics.ece,
    )
    if absent := metrics.absent():
        log.warning("evaluate: the test split has no sample of %s; no mean says anything of them", absent)
    require_better_than_guessing(metrics, run.report, ship_anyway=recipe.evaluate.ship_guessing)
    require_metrics(metrics, recipe.evaluate.require, run.report)
    require_no_harm(verdict, run.report, ship_anyway=recipe.evaluate.ship_negative_transfer)


def answer_samples(everything: Sequence[Sample], run: RunFolder, modality: Training) -> Reference:
    """Score the test split and some of validation by the checkpoint, and fit its temperature.

    Args:
        everything: All samples of the run.
        run: The run's folder, which holds the checkpoint.
        modality: The training side of the kind of input, which decodes the samples.

    Returns:
        The checkpoint's answers, which every receipt compares with.
    """
    classifier, card = load_checkpoint(run.checkpoint)
    classifier.prepare()
    validation = read_validation(run.checkpoint)
    temperature = fit_temperature(validation.logits, validation.targets)
    preprocessor = open_preprocessor(card.input, run.checkpoint)

    def answer(split: str, part: Part) -> Answers:
        examples = modality.decode_examples(part.samples, preprocessor, run.scratch(split))
        logits = compute_logits(classifier, examples, "cpu", split, modality.UNIT)
        return Answers(logits, part.targets, [sample.sha256 for sample in part.samples])

    test_answers = answer("test", _part(everything, "test", card.labels))
    validation_answers = answer("validation", _spread(_part(everything, "validation", card.labels)))
    return Reference(test_answers, validation_answers, temperature, card.labels)


def _part(everything: Sequence[Sample], split: str, labels: Sequence[str]) -> Part:
    """Return the samples of one split."""
    samples = [sample for sample in everything if sample.split == split]
    return Part(samples, np.array([labels.index(sample.label) for sample in samples]))


def _spread(part: Part) -> Part:
    """Return at most as many samples as a reference holds of validation, evenly spread."""
    chosen = evenly(len(part.samples), VALIDATION_SAMPLES)
    return Part([part.samples[index] for index in chosen], part.targets[chosen])


def _measure(recipe: Recipe, reference: Reference, scored: Scored, verdict: TransferVerdict) -> Metrics:
    """Measure the test split, and put the verdict on transfer beside its metrics."""
    metrics = measure(
        reference.test.logits,
        scored.targets,
        reference.labels,
        reference.temperature,
        resamples=recipe.evaluate.bootstrap,
        seed=recipe.seed,
    )
    return metrics.model_copy(update={"transfer": verdict})


def judge_opponents(
    recipe: Recipe, run: RunFolder, reference: Reference, answers: NDArray[np.int64]
) -> TransferVerdict:
    """Compare the model with the opponents that were fitted on the same training samples.

    Args:
        recipe: The run's recipe.
        run: The run's folder, which holds the opponents' answers.
        reference: The checkpoint's answers, with the targets of the test split.
        answers: Class indices of the model's answers to the test split, int64 of shape (samples,).

    Raises:
        GraftError: The opponents' answers cannot be read, or are to other samples.
    """
    found = read_answers(run, reference.test.sha256)
    opponents = [
        Opponent(record.name, record.is_transfer, theirs)
        for record, theirs in zip(found.record.opponents, found.answers, strict=True)
    ]
    return judge_transfer(
        answers,
        opponents,
        reference.test.targets,
        len(reference.labels),
        measure=found.record.measure,
        margin=recipe.transfer.margin,
        seed=recipe.seed,
        left_out=found.record.left_out,
    )


def _write_calibration(run: RunFolder, temperature: float, validation: Validation) -> None:
    """Write the temperature, and the loss on validation in nats without it and with it."""
    logits, targets = validation.logits, validation.targets
    atomic.write_json(
        run.calibration,
        {
            "temperature": temperature,
            "fitted_on": "validation",
            "nll_before": negative_log_likelihood(logits, targets),
            "nll_after": negative_log_likelihood(logits, targets, temperature),
        },
    )
