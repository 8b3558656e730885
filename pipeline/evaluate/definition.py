"""The stage ``evaluate``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.files.sources import hash_files
from pipeline.machine.versions import TRAINING_PACKAGES, versions_of
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    """Return what metrics, report, temperature and reference depend on."""
    from pipeline.files.samples import digest, read_samples

    return {
        "section": section_json(recipe.evaluate),
        "seed": recipe.seed,
        "name": recipe.name,
        "samples": digest(read_samples(run)),
        "checkpoint": hash_files(run.checkpoint.iterdir()),
        "audit": hash_files([run.audit]),
        "opponents": hash_files([run.opponents, run.opponents_answers]),
        "margin": recipe.transfer.margin,
        "versions": versions_of(*TRAINING_PACKAGES, *find_modality(recipe.modality).packages),
    }


EVALUATE = Stage(
    name="evaluate",
    work="pipeline.evaluate.stage:evaluate",
    inputs=_inputs,
    outputs=lambda run: [run.metrics, run.report, run.calibration, run.reference],
)
