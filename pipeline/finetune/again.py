"""What a training begins with, used for several trainings that differ in how to train alone."""

from __future__ import annotations

from dataclasses import replace

from pipeline.files.layout import RunFolder
from pipeline.finetune.plan import plan_of
from pipeline.finetune.resuming.chance import chance_state, restore_chance
from pipeline.finetune.stage import Started, start
from pipeline.finetune.steps.sharing import shared_plan
from pipeline.modalities.registry import modality_of
from pipeline.recipe.sections import Recipe


class Beginning:
    """Decoded samples and first heads, from which each training begins as if it were the first.

    Args:
        recipe: The recipe of the first training.
        run: The run's folder, with the samples.

    Raises:
        GraftError: The backbone cannot be had.
    """

    def __init__(self, recipe: Recipe, run: RunFolder) -> None:
        self.started = start(recipe, run)
        self._chance = chance_state()

    def of(self, recipe: Recipe) -> Started:
        """Return what another training begins with, in the same state of chance.

        Args:
            recipe: The recipe of the other training, which differs in how to train alone.
        """
        restore_chance(self._chance)
        section, started = recipe.finetune, self.started
        samples, options = len(started.prepared.train), modality_of(recipe).training_options(section)
        plan = plan_of(section, options, started.settings, recipe.seed, samples)
        return replace(started, plan=shared_plan(plan, samples, started.prepared.processes))
