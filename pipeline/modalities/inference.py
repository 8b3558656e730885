"""A classifier's logits of decoded samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.modalities.training import Classifier, Examples
from pipeline.reporting.progress import track

EVALUATION_BATCH = 32


def compute_logits(
    classifier: Classifier, examples: Examples, device: str, what: str, unit: str
) -> NDArray[np.float32]:
    """A classifier's logits of decoded samples, in fp32 and evaluation mode.

    Args:
        classifier: On ``device``.
        examples: Decoded samples.
        device: torch's name of the device.
        what: The work, for the progress.
        unit: One sample's plural.

    Returns:
        float32 of shape (samples, classes).
    """
    classifier.saved().eval()
    lengths = examples.lengths()
    # Samples of one length together, so that little is padded.
    order = np.arange(len(examples)) if lengths is None else np.argsort(lengths, kind="stable")
    rows = []
    with torch.inference_mode():
        starts = range(0, len(order), EVALUATION_BATCH)
        for start in track(starts, total=len(order), what=what, unit=unit, weight=EVALUATION_BATCH):
            batch = examples.batch(order[start : start + EVALUATION_BATCH], device)
            rows.append(classifier(**batch).float().cpu().numpy())
    found = np.concatenate(rows)
    logits = np.empty_like(found)
    logits[order] = found
    return logits
