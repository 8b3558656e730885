"""The objectives of a model on some samples, at the temperature that validation chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.keep.judging import smoothed_losses
from pipeline.measures.metrics import summarise
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of


@dataclass(frozen=True)
class Score:
    """The objectives of a model on some samples.

    Attributes:
        loss: Mean loss in nats.
        accuracy: Share of right answers, in [0, 1].
        macro_f1: Mean of the classes' F1, in [0, 1].
    """

    loss: float
    accuracy: float
    macro_f1: float

    def objective(self, name: str) -> float:
        """Return the objective of a name."""
        return {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1}[name]


def score_of(
    recipe: Recipe, logits: NDArray[np.float32], temperature: float, targets: NDArray[np.int64]
) -> Score:
    """Return the objectives of a model's answers.

    Args:
        recipe: The recipe, whose task says what the answers are.
        logits: The answers, float32 of shape (samples, classes).
        temperature: What the logits are divided by.
        targets: Class indices, int64 of shape (samples,).
    """
    probabilities = task_of(recipe).probabilities(logits, temperature)
    figures = summarise(probabilities, targets)
    loss = float(smoothed_losses(probabilities, targets).mean())
    return Score(loss, figures["accuracy"], figures["macro_f1"])
