"""The stage ``verify``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.files.sources import hash_files
from pipeline.machine.settings import hardware_names
from pipeline.machine.versions import RUNTIME_PACKAGES, versions_of
from pipeline.recipe.reading import section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    return {
        "machine": hardware_names(),  # a run that was moved to another machine is verified there again
        "export": section_json(recipe.export),
        "files": hash_files([run.reference, *run.candidates.iterdir()]),
        "versions": versions_of(*RUNTIME_PACKAGES, "pillow", "tokenizers", "scikit-learn", "scipy"),
    }


def _outputs(run: RunFolder) -> list[Path]:
    published = sorted(path for path in run.bundle.rglob("*") if path.is_file())
    return [*published, run.artifacts, run.proof]


VERIFY = Stage(name="verify", work="pipeline.verify.stage:verify", inputs=_inputs, outputs=_outputs)
