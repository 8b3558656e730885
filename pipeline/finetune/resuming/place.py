"""The place of a run's unfinished trainings."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.finetune.resuming.identity import identity_of
from pipeline.finetune.resuming.unfinished import Unfinished
from pipeline.machine.processes import Processes
from pipeline.machine.settings import Settings
from pipeline.recipe.sections import Recipe


def unfinished_of(
    recipe: Recipe, run: RunFolder, settings: Settings, weights_sha256: str, processes: Processes
) -> Unfinished:
    """Return the place of a run's unfinished trainings, with all that they depend on.

    Args:
        recipe: The run's recipe.
        run: The run's folder.
        settings: Device, precision and threads of the training.
        weights_sha256: SHA-256, in hex, of the pretrained tensors.
        processes: The processes that share the training, of which the first one reads and writes.
    """
    samples = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    return Unfinished(
        folder=run.unfinished("finetune"),
        identity=identity_of(recipe, settings, samples, weights_sha256, processes.count),
        minutes=recipe.finetune.checkpoint_minutes,
        remedy=f"To begin anew: graft finetune {run.root} --force",
        processes=processes,
    )
