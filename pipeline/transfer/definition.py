"""The stage ``transfer``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.finetune.definition import training_inputs
from pipeline.machine.versions import versions_of
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    """Return what the opponents and their answers depend on; the checkpoint is not read."""
    from pipeline.files.samples import digest, read_samples

    return {
        **training_inputs(recipe, run),
        "test": digest([sample for sample in read_samples(run) if sample.split == "test"]),
        "scratch_seconds": recipe.transfer.scratch_seconds,
        "scikit-image": versions_of("scikit-image"),
    }


TRANSFER = Stage(
    name="transfer",
    work="pipeline.transfer.stage:fit_opponents",
    inputs=_inputs,
    outputs=lambda run: [run.opponents, run.opponents_answers],
)
