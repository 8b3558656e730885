"""The stage ``evaluate``: the checkpoint on the test split, calibrated on validation, beside a simple baseline."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.checkpoint import load_checkpoint, read_history, read_validation
from pipeline.evaluate.gate import require_lead, require_metrics
from pipeline.evaluate.report import Scored, render_report
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, evenly, read_samples
from pipeline.machine.settings import tune_allocator
from pipeline.measures.calibration import fit_temperature, negative_log_likelihood, softmax
from pipeline.measures.metrics import compare_with_baseline, measure
from pipeline.measures.reference import VALIDATION_SAMPLES, Answers, Reference, write_reference
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.registry import modality_of
from pipeline.modalities.training import Training
from pipeline.recipe.sections import Recipe
from serving.model.inputs.registry import open_preprocessor
from serving.model.runtimes.machine import cpu_limit

log = logging.getLogger("graft")


def evaluate(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's metrics, report, temperature and test logits.

    Raises:
        GateFailedError: A metric misses the recipe's ``evaluate.require``, or a simple baseline does better;
            the metrics and the report are written all the same.
    """
    tune_allocator()
    torch.set_num_threads(cpu_limit())
    modality = modality_of(recipe)
    classifier, card = load_checkpoint(run.checkpoint)
    classifier.prepare()
    validation = read_validation(run.checkpoint)
    temperature = fit_temperature(validation.logits, validation.targets)
    everything = read_samples(run)
    samples, targets = _split(everything, "test", card.labels)
    preprocessor = open_preprocessor(card.input, run.checkpoint)

    def answer(split: str, samples: Sequence[Sample], targets: NDArray[np.int64]) -> Answers:
        examples = modality.decode_examples(samples, preprocessor, run.scratch(split))
        logits = compute_logits(classifier, examples, "cpu", split, modality.UNIT)
        return Answers(logits, targets, [sample.sha256 for sample in samples])

    test = answer("test", samples, targets)
    reference = Reference(
        test,
        answer("validation", *_spread(*_split(everything, "validation", card.labels))),
        temperature,
        card.labels,
    )
    logits = test.logits
    scored = Scored(samples, targets, softmax(logits), softmax(logits, temperature))
    metrics = measure(
        logits, targets, card.labels, temperature, resamples=recipe.evaluate.bootstrap, seed=recipe.seed
    )
    metrics["baseline"] = _baseline(recipe, modality, everything, card.labels, scored)
    audit = json.loads(run.audit.read_bytes())
    page = render_report(
        recipe.name, card.labels, scored, metrics, read_history(run.checkpoint), audit, modality
    )

    write_reference(run.reference, reference)
    atomic.write_json(
        run.calibration,
        {
            "temperature": temperature,
            "fitted_on": "validation",
            "nll_before": negative_log_likelihood(validation.logits, validation.targets),
            "nll_after": negative_log_likelihood(validation.logits, validation.targets, temperature),
        },
    )
    atomic.write_bytes(run.report, page.encode())
    atomic.write_json(run.metrics, metrics)
    log.info(
        "evaluate: accuracy %.3f, macro F1 %.3f, AUROC %.3f, ECE %.3f",
        *(metrics[k] for k in ("accuracy", "macro_f1", "auroc", "ece")),
    )
    require_metrics(metrics, recipe.evaluate.require, run.report)
    require_lead(metrics["baseline"], run.report, ship_anyway=recipe.evaluate.ship_below_baseline)


def _split(
    everything: Sequence[Sample], split: str, labels: Sequence[str]
) -> tuple[list[Sample], NDArray[np.int64]]:
    samples = [sample for sample in everything if sample.split == split]
    return samples, np.array([labels.index(sample.label) for sample in samples])


def _spread(samples: Sequence[Sample], targets: NDArray[np.int64]) -> tuple[list[Sample], NDArray[np.int64]]:
    """At most as many as a reference holds of validation."""
    chosen = evenly(len(samples), VALIDATION_SAMPLES)
    return [samples[index] for index in chosen], targets[chosen]


def _baseline(
    recipe: Recipe, modality: Training, everything: Sequence[Sample], labels: Sequence[str], scored: Scored
) -> dict[str, Any] | None:
    """What a simple classifier reaches, fitted on the training split alone; None where the modality has none."""
    baseline = modality.fit_baseline(*_split(everything, "train", labels), recipe.seed)
    if baseline is None:
        return None
    found = compare_with_baseline(
        scored.after,
        baseline.probabilities(scored.samples),
        scored.targets,
        resamples=recipe.evaluate.bootstrap,
        seed=recipe.seed,
    )
    log.info("baseline: %s, macro F1 %.3f; this model %+.3f", baseline.name, found["macro_f1"], found["lead"])
    return {"name": baseline.name, **found}
