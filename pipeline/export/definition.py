"""The stage ``export``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.files.sources import hash_files
from pipeline.machine.settings import hardware_names
from pipeline.machine.versions import RUNTIME_PACKAGES, TRAINING_PACKAGES, versions_of
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import hash_recipe, section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    """Return what the model files depend on; the machine is a part of it where TensorRT plans are built."""
    from pipeline.files.samples import digest, read_samples

    builds_plans = any(name.startswith("tensorrt") for name in recipe.export.formats)
    checkpoint = [run.checkpoint / name for name in ("model.safetensors", "checkpoint.json")]
    return {
        "recipe": hash_recipe(recipe),
        "export": section_json(recipe.export),
        "samples": digest(read_samples(run)),
        "files": hash_files([*checkpoint, run.reference]),
        "versions": versions_of(
            *TRAINING_PACKAGES,
            *find_modality(recipe.modality).packages,
            "onnx",
            "onnxscript",
            "scipy",
            *RUNTIME_PACKAGES,
        ),
        "machine": hardware_names() if builds_plans else "",
    }


EXPORT = Stage(
    name="export",
    work="pipeline.export.stage:export",
    inputs=_inputs,
    outputs=lambda run: sorted(run.candidates.iterdir()),
)
