"""Short fine-tunings of a few epochs, judged on validation, which go on where they stopped."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pipeline.compare.records import Judgement, Tuned
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.finetune.auto import MODE
from pipeline.finetune.plan import default_epochs
from pipeline.finetune.resuming.place import unfinished_of
from pipeline.finetune.stage import carry_out, start
from pipeline.finetune.start.adjustment import adjusted
from pipeline.machine.processes import ALONE
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

SHORT_SHARE, LONG_SHARE = 0.25, 0.5
"""Shares of the epochs of a whole training that the two rounds of short ones take."""


def epochs_of(recipe: Recipe, samples: int, share: float) -> int:
    """Return a share of the epochs that a whole training of a recipe takes, one at least.

    Args:
        recipe: The recipe.
        samples: Number of training samples.
        share: The share, in (0, 1].
    """
    whole = recipe.finetune.epochs or default_epochs(samples)
    return max(1, round(whole * share))


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe whose training takes so many epochs, in one course where its mode would try several.

    Args:
        recipe: The recipe.
        epochs: Number of epochs.
    """
    changes: dict[str, object] = {"epochs": epochs}
    if recipe.finetune.mode == "auto":
        changes["mode"] = MODE
    if epochs == 1 and recipe.finetune.schedule == "plateau":  # it goes by the epochs before
        changes["schedule"] = "cosine"
    return recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update=changes)})


def tune(recipe: Recipe, run: RunFolder, unfinished: Path) -> Tuned:
    """Fine-tune a recipe's backbone, and judge on validation what is kept. Nothing else is left of it.

    Args:
        recipe: The recipe, with the number of epochs.
        run: The run's folder, whose stage ``data`` is done.
        unfinished: Folder of the training's checkpoints, from which it goes on; it is removed at the end.

    Raises:
        GraftError: The backbone cannot be had or trained.
    """
    began = time.monotonic()
    started = start(recipe, run)
    place = unfinished_of(recipe, run, started.settings, started.pretrained.weights_sha256, ALONE)
    place = replace(place, folder=unfinished, remedy=f"To begin anew, remove {unfinished}")
    kept = carry_out(recipe.finetune, started.prepared, started.plan, place).outcome.kept
    task = task_of(recipe)
    # A run takes the classes' shares out of the answers after training, and compares losses before that.
    answers = task.answers(task.probabilities(adjusted(kept, started.prepared).logits))
    atomic.remove_folder(unfinished)
    return Tuned(
        epochs=started.plan.epochs,
        kept=kept.name,
        seconds=round(time.monotonic() - began, 1),
        validation=Judgement.of(kept.judged, answers),
    )
