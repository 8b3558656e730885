"""The bench of a search: carries out trials, and keeps what several of them share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.finetune.again import Beginning
from pipeline.finetune.course.loop import Watch
from pipeline.finetune.heldout import answer_split
from pipeline.finetune.keep.scoring import Score as Score  # noqa: PLC0414 - of a trial's result
from pipeline.finetune.keep.scoring import score_of
from pipeline.finetune.stage import Started, carry_out, with_adjustment
from pipeline.finetune.start.frozen import Frozen, extract_splits
from pipeline.finetune.start.linear import fit_features
from pipeline.recipe.data import Split
from pipeline.recipe.sections import Recipe

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


@dataclass(frozen=True)
class WorkerFolder(RunFolder):
    """The folder of a run whose decoded samples are in the way of no other worker's.

    Attributes:
        worker: The worker's number.
    """

    worker: int

    def scratch(self, split: str) -> Path:
        """Return the path of the decoded samples of a split that do not fit into memory."""
        return self.root / f".decoded-{split}-{self.worker}.npy"


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
        self._beginning: tuple[str, Beginning] | None = None

    def carry_out(self, recipe: Recipe, watch: Watch, held_out: Split | None = None) -> Result:
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
        frozen = self._features(recipe, held_out)
        fitted = fit_features(recipe, frozen)

        def score(name: str) -> Score:
            logits, targets = fitted.logits(frozen.splits[name]), frozen.splits[name].targets
            return score_of(recipe, logits, fitted.judged.temperature, targets)

        return Result(score("validation"), score(held_out) if held_out else None)

    def _features(self, recipe: Recipe, held_out: Split | None) -> Frozen:
        """Return the features of the splits, which are computed or read once for all trials of a backbone."""
        names: list[Split] = ["train", "validation", *([held_out] if held_out else [])]
        key = json.dumps([names, _key(recipe, ONLY_OF_HEADS)])
        if self._frozen is None or self._frozen[0] != key:
            self._frozen = key, extract_splits(recipe, self.run, names)
        return self._frozen[1]

    def _train(self, recipe: Recipe, watch: Watch, held_out: Split | None) -> Result:
        started = self._prepared(recipe)
        prepared = started.prepared
        decision = carry_out(recipe.finetune, prepared, started.plan, None, watch)
        _, kept = with_adjustment(decision, prepared)
        temperature, targets = kept.judged.temperature, prepared.validation.targets
        score = score_of(recipe, kept.logits, temperature, targets)
        if held_out is None:
            return Result(score)
        logits, others = answer_split(started, kept.state, self.run, held_out)
        return Result(score, score_of(recipe, logits, temperature, others))

    def _prepared(self, recipe: Recipe) -> Started:
        """Return what a training begins with, which is made anew only where the trial needs another."""
        key = json.dumps(_key(recipe, ONLY_PLANNED))
        if self._beginning is None or self._beginning[0] != key:
            self._beginning = None  # the samples of both need not fit into memory
            self._beginning = key, Beginning(recipe, self.run)
        return self._beginning[1].of(recipe)


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
