"""Inference in PyTorch: a classifier's logits of decoded samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.machine.processes import ALONE, Processes
from pipeline.modalities.training import Classifier, Examples
from pipeline.reporting.progress import track

EVALUATION_BATCH = 32


def compute_logits(
    classifier: Classifier,
    examples: Examples,
    device: str,
    what: str,
    unit: str,
    processes: Processes = ALONE,
) -> NDArray[np.float32]:
    """Compute a classifier's logits of decoded samples, in fp32 and evaluation mode.

    Args:
        classifier: The network, which is on ``device``.
        examples: Decoded samples.
        device: torch's name of the device, such as ``cpu`` or ``cuda``.
        what: What the progress bar says is being done.
        unit: What the progress bar calls several samples, such as ``pictures``.
        processes: The processes that share the work; by default this one does all of it.

    Returns:
        The logits in the order of the samples, float32 of shape (samples, classes).
    """
    classifier.saved().eval()
    lengths = examples.lengths()
    # Samples of one length go together, so that little is padded.
    order = np.arange(len(examples)) if lengths is None else np.argsort(lengths, kind="stable")
    rows: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        starts = processes.share(range(0, len(order), EVALUATION_BATCH))
        for start in track(starts, total=len(order), what=what, unit=unit, weight=EVALUATION_BATCH):
            batch = examples.batch(order[start : start + EVALUATION_BATCH], device)
            rows.extend(classifier(**batch).float().cpu().numpy())
    ordered = np.stack(processes.gather(rows))
    logits = np.empty_like(ordered)
    logits[order] = ordered
    return logits
