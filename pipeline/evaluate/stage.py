"""The stage ``evaluate``: the checkpoint on the test split, calibrated on validation."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.data.samples import Sample, read_samples
from pipeline.evaluate.calibration import fit_temperature, negative_log_likelihood, softmax
from pipeline.evaluate.gate import require_metrics
from pipeline.evaluate.metrics import measure
from pipeline.evaluate.report import Scored, render_report
from pipeline.finetune.checkpoint import load_checkpoint, read_history
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
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    everything = read_samples(run)

    def score(split: str) -> tuple[list[Sample], NDArray[np.int64], NDArray[np.float32]]:
        samples = [sample for sample in everything if sample.split == split]
        pixels = decode_samples(samples, card.input, run.root / ".pixels.npy")
        targets = np.array([card.labels.index(sample.label) for sample in samples])
        return samples, targets, compute_logits(model, pixels, card.normalisation, "cpu", what=split)

    _, validation_targets, validation_logits = score("validation")
    temperature = fit_temperature(validation_logits, validation_targets)
    samples, targets, logits = score("test")
    metrics = measure(logits, targets, card.labels, temperature, resamples=recipe.evaluate.bootstrap, seed=recipe.seed)
    scored = Scored(samples, targets, softmax(logits), softmax(logits, temperature))
    page = render_report(recipe.name, card.labels, scored, metrics, read_history(run.checkpoint), json.loads(run.audit.read_bytes()))

    atomic.write_bytes(run.logits, _pack(logits, targets, samples))
    atomic.write_json(
        run.calibration,
        {
            "temperature": temperature,
            "fitted_on": "validation",
            "nll_before": negative_log_likelihood(validation_logits, validation_targets),
            "nll_after": negative_log_likelihood(validation_logits, validation_targets, temperature),
        },
    )
    atomic.write_bytes(run.report, page.encode())
    atomic.write_json(run.metrics, metrics)
    log.info("evaluate: accuracy %.3f, macro F1 %.3f, AUROC %.3f, ECE %.3f", *(metrics[k] for k in ("accuracy", "macro_f1", "auroc", "ece")))
    require_metrics(metrics, recipe.evaluate.require)


def _pack(logits: NDArray[np.float32], targets: NDArray[np.int64], samples: Sequence[Sample]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits, targets=targets, sha256=np.array([sample.sha256 for sample in samples]))
    return buffer.getvalue()
