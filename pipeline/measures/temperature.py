"""The temperature of each precision, since 8 bits, and less so 16, compress a model's confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import as_logits, fit_temperature
from pipeline.measures.reference import Answers
from pipeline.tasks.classification import CLASSIFICATION


def correction(probabilities: NDArray[np.floating], exact: Answers, temperature: float) -> float:
    """Return by how much an artifact's temperature has to differ from the checkpoint's, as a factor.

    Both temperatures are fitted anew on the same samples, so that an artifact that answers as the checkpoint
    does gets exactly 1.

    Args:
        probabilities: The artifact's probabilities on validation, of shape (samples, classes).
        exact: The checkpoint's answers to the same samples.
        temperature: What the artifact divides its logits by, above 0.
    """
    fitted = fit_temperature(as_logits(probabilities, temperature), exact.targets)
    return fitted / fit_temperature(as_logits_of(exact, temperature), exact.targets)


def as_logits_of(exact: Answers, temperature: float) -> NDArray[np.float64]:
    """Return the checkpoint's logits as a served artifact can hold them, float64 of shape (samples, classes).

    What float32 cannot say of a probability is lost to both.

    Args:
        exact: The checkpoint's answers.
        temperature: What the artifact divides its logits by, above 0.
    """
    return as_logits(CLASSIFICATION.probabilities(exact.logits, temperature), temperature)
