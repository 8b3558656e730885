"""The stage ``finetune``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.machine.versions import TRAINING_PACKAGES, versions_of
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import section_json, without_places
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Absent, Inputs, Stage


def training_inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    """Return what the checkpoint depends on; the test split, which is not read, is no part of it."""
    from pipeline.files.samples import digest, read_samples

    trained_on = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    bare = without_places(recipe)
    # How often a checkpoint is made changes nothing of the result.
    finetune = bare.finetune.model_copy(update={"checkpoint_minutes": 0.0})
    return {
        "sections": [section_json(section) for section in (bare.backbone, *recipe.own_sections(), finetune)],
        "seed": recipe.seed,
        "samples": digest(trained_on),
        "weights": _hash_place(recipe.backbone.weights, "backbone.weights"),
        **_hash_code(recipe),
        **{key: _hash_place(place, key) for key, place in recipe.finetune.places().items()},
        "versions": versions_of(
            *TRAINING_PACKAGES,
            *find_modality(recipe.modality).packages,
            *recipe.finetune.packages(),
            *recipe.backbone.packages(),
            "onnxruntime-gpu",
            "onnxruntime",
        ),
    }


def _hash_place(place: str, key: str) -> str | Absent:
    """Return the hash of a file that the recipe names; weights of the hub go by the backbone's name."""
    from pipeline.files.sources import SourceMissingError, hash_source

    if place == "hub":
        return place
    try:
        return hash_source(place, key)
    except SourceMissingError as error:
        return Absent(error.what, error.remedy)


def _hash_code(recipe: Recipe) -> dict[str, str | Absent]:
    """Return the hash of the folder whose code makes the network; nothing for a network of a package."""
    from pipeline.files.sources import SourceMissingError, hash_code_folder

    folder = recipe.backbone.code()
    if folder is None:
        return {}
    try:
        return {"code": hash_code_folder(folder, "backbone.name")}
    except SourceMissingError as error:
        return {"code": Absent(error.what, error.remedy)}


FINETUNE = Stage(
    name="finetune",
    work="pipeline.finetune.stage:finetune",
    inputs=training_inputs,
    outputs=lambda run: sorted(run.checkpoint.iterdir()),
    check="pipeline.finetune.start.opening:check",
    is_shared=True,
)
