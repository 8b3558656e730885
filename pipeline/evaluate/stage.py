"""The stage ``evaluate``: the checkpoint on the test split, calibrated on validation."""

from __future__ import annotations

import json
import logging

import numpy as np
import torch

from pipeline import atomic
from pipeline.data.samples import read_samples
from pipeline.evaluate.calibration import fit_temperature, negative_log_likelihood, softmax
from pipeline.evaluate.gate import require_metrics
from pipeline.evaluate.metrics import measure
from pipeline.evaluate.report import Scored, render_report
from pipeline.finetune.checkpoint import load_checkpoint, read_history, read_validation
from pipeline.finetune.loop import compute_logits
from pipeline.finetune.pixels import decode_samples
from pipeline.layout import RunFolder
from pipeline.machine import tune_allocator
from pipeline.recipe import Recipe
from serving.runtime import cpu_limit

log = logging.getLogger("graft")


def evaluate(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's metrics, report, temperature and test logits.

    Raises:
        GateFailedError: A metric misses the recipe's ``evaluate.require``; the metrics and the report are written all the same.
    """
    tune_allocator()
    torch.set_num_threads(cpu_limit())
    model, card = load_checkpoint(run.checkpoint)
    model = model.to(memory_format=torch.channels_last)
    validation = read_validation(run.checkpoint)
    temperature = fit_temperature(validation.logits, validation.targets)
    samples = [sample for sample in read_samples(run) if sample.split == "test"]
    targets = np.array([card.labels.index(sample.label) for sample in samples])
    logits = compute_logits(model, decode_samples(samples, card.input, run.root / ".pixels.npy"), card.normalisation, "cpu", "test")
    metrics = measure(logits, targets, card.labels, temperature, resamples=recipe.evaluate.bootstrap, seed=recipe.seed)
    scored = Scored(samples, targets, softmax(logits), softmax(logits, temperature))
    page = render_report(recipe.name, card.labels, scored, metrics, read_history(run.checkpoint), json.loads(run.audit.read_bytes()))

    atomic.write_arrays(run.logits, logits=logits, targets=targets, sha256=np.array([sample.sha256 for sample in samples]))
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
        "evaluate: accuracy %.3f, macro F1 %.3f, AUROC %.3f, ECE %.3f", *(metrics[k] for k in ("accuracy", "macro_f1", "auroc", "ece"))
    )
    require_metrics(metrics, recipe.evaluate.require, run.report)
