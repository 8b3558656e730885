"""The stage ``export``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.files.sources import hash_files
from pipeline.machine.settings import hardware_names
from pipeline.machine.versions import RUNTIME_PACKAGES, TRAINING_PACKAGES, versions_of
from pipeline.recipe.reading import hash_recipe, section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    from pipeline.files.samples import digest, read_samples

    builds_plans = any(name.startswith("tensorrt") for name in recipe.export.formats)
    checkpoint = [run.checkpoint / name for name in ("model.safetensors", "checkpoint.json")]
    return {
        "recipe": hash_recipe(recipe),
        "export": section_json(recipe.export),
        "samples": digest(read_samples(run)),
        "files": hash_files([*checkpoint, run.reference]),
        "versions": versions_of(*TRAINING_PACKAGES, "onnx", "onnxscript", "scipy", *RUNTIME_PACKAGES),
        "machine": hardware_names() if builds_plans else "",
    }


def _is_bundle(run: RunFolder) -> bool:
    """Whether the manifest, which ``verify`` writes into, is still one of this model."""
    from serving.model.bundle import open_bundle
    from serving.model.errors import BundleError

    try:
        return open_bundle(run.bundle, require_receipts=False).manifest.artifacts[0].file == run.model.name
    except BundleError:
        return False


EXPORT = Stage(
    name="export",
    work="pipeline.export.stage:export",
    inputs=_inputs,
    outputs=lambda run: [run.model, *sorted(run.candidates.iterdir())],
    still_valid=_is_bundle,
)
