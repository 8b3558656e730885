"""The bench of a search: carries out trials, and keeps what several of them share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.history import Epoch
from pipeline.files.layout import RunFolder
from pipeline.finetune.heldout import answer_split
from pipeline.finetune.keep.judging import smoothed_losses
from pipeline.finetune.resuming.chance import chance_state, restore_chance
from pipeline.finetune.resuming.tree import Tree
from pipeline.finetune.stage import Started, carry_out, replan, start, with_adjustment
from pipeline.finetune.start.frozen import Frozen, extract_splits
from pipeline.finetune.start.linear import fit_features
from pipeline.measures.metrics import summarise
from pipeline.recipe.data import Split
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

# Keys of ``finetune`` that only say how to train: decoded samples and heads are the same for all of them.
ONLY_PLANNED = frozenset(
    {
        "epochs", "batch_size", "learning_rate", "layer_decay", "weight_decay", "schedule", "warmup",
        "clip_norm", "label_smoothing", "dropout", "drop_path", "mixup", "cutmix", "ema", "soup", "patience",
        "focal", "lora", "checkpoint_minutes", "batch_norm",
    }
)  # fmt: skip
# What only the head depends on: features are the same for all their values.
ONLY_OF_HEADS = ONLY_PLANNED | {"mode", "class_weights", "sampling", "logit_adjustment", "penalty", "augment"}

Told = Callable[[Epoch], None]


@dataclass(frozen=True)
class Score:
    """The objectives of a model on some samples.

    Attributes:
        loss: Mean loss in nats, at the temperature that validation chose.
        accuracy: Share of right answers, in [0, 1].
        macro_f1: Mean of the classes' F1, in [0, 1].
    """

    loss: float
    accuracy: float
    macro_f1: float

    def objective(self, name: str) -> float:
        """Return the objective of a name."""
        return {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1}[name]


@dataclass(frozen=True)
class Result:
    """What a trial leaves.

    Attributes:
        score: The score on validation.
        held_out: The score on samples that the trial neither trained on nor chose by; None where none were
            asked for.
    """

    score: Score
    held_out: Score | None = None


class Bench:
    """Carries out the trials of a run.

    The features of a backbone are read once, and the samples are decoded once, for all trials that have them
    in common; of each, what the last trial used is kept.

    Args:
        run: The run's folder, whose stage ``data`` is done.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._frozen: tuple[str, Frozen] | None = None
        self._started: tuple[str, Started, Tree] | None = None

    def carry_out(self, recipe: Recipe, watch: Told, held_out: Split | None = None) -> Result:
        """Carry out a trial on the training and the validation split.

        Args:
            recipe: The recipe of the trial.
            watch: Is told of each epoch; what it raises ends the trial.
            held_out: Name of a split that the model is scored on besides; None, the default, for none.

        Raises:
            GraftError: The backbone cannot be had, or the training fails.
        """
        if recipe.finetune.mode == "features":
            return self._fit_head(recipe, held_out)
        return self._train(recipe, watch, held_out)

    def _fit_head(self, recipe: Recipe, held_out: Split | None) -> Result:
        frozen, task = self._features(recipe, held_out), task_of(recipe)
        fitted = fit_features(recipe.finetune, frozen, task)

        def score(name: str) -> Score:
            logits, targets = fitted.logits(frozen.splits[name]), frozen.splits[name].targets
            return score_of(task.probabilities(logits, fitted.judged.temperature), targets)

        return Result(score("validation"), score(held_out) if held_out else None)

    def _features(self, recipe: Recipe, held_out: Split | None) -> Frozen:
        """Return the features of the splits, which are computed or read once for all trials of a backbone."""
        names: list[Split] = ["train", "validation", *([held_out] if held_out else [])]
        key = json.dumps([names, _key(recipe, ONLY_OF_HEADS)])
        if self._frozen is None or self._frozen[0] != key:
            self._frozen = key, extract_splits(recipe, self.run, names)
        return self._frozen[1]

    def _train(self, recipe: Recipe, watch: Told, held_out: Split | None) -> Result:
        started, task = self._prepared(recipe), task_of(recipe)
        prepared = started.prepared
        decision = carry_out(recipe.finetune, prepared, started.plan, None, watch)
        _, kept = with_adjustment(decision, prepared)
        temperature, targets = kept.judged.temperature, prepared.validation.targets
        score = score_of(task.probabilities(kept.logits, temperature), targets)
        if held_out is None:
            return Result(score)
        logits, others = answer_split(started, kept.state, self.run, held_out)
        return Result(score, score_of(task.probabilities(logits, temperature), others))

    def _prepared(self, recipe: Recipe) -> Started:
        """Return what a training begins with, which is made anew only where the trial needs another."""
        key = json.dumps(_key(recipe, ONLY_PLANNED))
        if self._started is not None and self._started[0] == key:
            _, started, chance = self._started
            restore_chance(chance)
            return replan(started, recipe)
        self._started = None
        started = start(recipe, self.run)
        self._started = key, started, chance_state()
        return started


def _key(recipe: Recipe, free: frozenset[str]) -> object:
    """Return all of a recipe that a preparation depends on, as JSON values.

    Args:
        recipe: The recipe.
        free: Keys of ``finetune`` that it does not depend on.
    """
    names = ["backbone", *recipe.own_keys(), "seed"]
    document = recipe.model_dump(mode="json", by_alias=True)
    finetune = {key: value for key, value in document["finetune"].items() if key not in free}
    return [{name: document[name] for name in names}, finetune]


def score_of(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Score:
    """Return the objectives of calibrated probabilities.

    Args:
        probabilities: Probabilities, float64 of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
    """
    figures = summarise(probabilities, targets)
    loss = float(smoothed_losses(probabilities, targets).mean())
    return Score(loss, figures["accuracy"], figures["macro_f1"])
