"""The stage ``export``: every model file that the recipe asks for, none of them proven yet."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from pipeline.artifacts.candidates import Candidates
from pipeline.artifacts.checkpoint import CheckpointCard, hash_checkpoint, load_checkpoint
from pipeline.artifacts.formats import FORMATS, SOURCE_FILE, TENSORS_FILE
from pipeline.artifacts.onnx import OnnxModel
from pipeline.export.makers import ExportContext, export_source, make_file
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import digest, read_samples
from pipeline.machine.versions import MODEL_PACKAGES, versions_of
from pipeline.measures.reference import Reference, read_reference
from pipeline.modalities.registry import find_modality, modality_of
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Classifier
from pipeline.recipe.reading import hash_recipe
from pipeline.recipe.sections import Recipe
from serving.model.files import FileRef, hash_file
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import Lineage
from serving.model.records import Made

log = logging.getLogger("graft")
VERSION_DIGITS = 12
# What transformers notes in a configuration about itself and where it came from. It changes no prediction.
NOT_DECISIVE = frozenset({"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype"})


def export(recipe: Recipe, run: RunFolder) -> None:
    """Write the candidates of a run: the fp32 ONNX file, and what further formats are served from.

    Args:
        recipe: The run's recipe.
        run: The run's folder, in which ``export/`` is replaced in one step.

    Raises:
        GraftError: The checkpoint cannot be read.
        DataError: Samples changed since the audit.
    """
    samples = read_samples(run)
    classifier, card = load_checkpoint(run.checkpoint)
    reference, kind = read_reference(run.reference), find_modality(recipe.modality)
    lineage = Lineage(
        recipe_sha256=hash_recipe(recipe),
        data_sha256=digest(samples),
        weights_sha256=card.weights_sha256,
        checkpoint_sha256=hash_checkpoint(run.checkpoint),
        versions=versions_of(*MODEL_PACKAGES, *kind.packages),
    )
    context = ExportContext(
        limits=recipe.export.limits,
        modality=modality_of(recipe),
        calibration_samples=kind.calibration_samples,
        samples=samples,
        classifier=classifier,
        preprocessor=open_preprocessor(card.input, run.checkpoint),
        input=card.input,
        reference=reference,
        metadata=describe_model(recipe, card, lineage),
        distillation_steps=recipe.export.int8_distillation_steps,
        seed=recipe.seed,
    )
    version = hash_model(classifier, card, reference, lineage)
    with atomic.folder(run.candidates) as folder:
        source = export_source(context, folder / TENSORS_FILE)
        atomic.write_bytes(folder / SOURCE_FILE, source.content)
        log.info("export: %s, %.1f MB, version %s", run.model, source.size() / 1e6, version)
        tensors = FileRef(file=TENSORS_FILE, sha256=hash_file(source.tensors)) if source.tensors else None
        files = {SOURCE_FILE: Made(method="torch.onnx.export, opset 20", tensors=tensors)}
        for file in dict.fromkeys(FORMATS[name].file for name in recipe.export.further):
            if file != SOURCE_FILE:
                files[file] = _write_further(file, source, context, folder)
        record = Candidates(version=version, lineage=lineage, files=files)
        atomic.write_bytes(folder / run.made.name, record.to_bytes())


def _write_further(file: str, source: OnnxModel, context: ExportContext, folder: Path) -> Made:
    """Make a further file from the fp32 one, and return how that was done or why it was not."""
    content, record = make_file(file, source, context, folder)
    if content is None:
        log.info("export: %s, not made: %s", file, record.because)
    else:
        atomic.write_bytes(folder / file, content)
        log.info("export: %s, %.1f MB, to be proven", file, len(content) / 1e6)
    return record


def describe_model(recipe: Recipe, card: CheckpointCard, lineage: Lineage) -> dict[str, str]:
    """Describe a model in the metadata of its ONNX files, without anything of the environment.

    The versions of the installed packages stand in the manifest instead: the same model made beside another
    package is the same file.
    """
    return {
        "graft.name": recipe.name,
        "graft.labels": json.dumps(card.labels, ensure_ascii=False),
        "graft.input": card.input.model_dump_json(),
        "graft.lineage": lineage.model_dump_json(exclude={"versions"}),
    }


def hash_model(classifier: Classifier, card: CheckpointCard, reference: Reference, lineage: Lineage) -> str:
    """Return the version of a model: the first digits of a SHA-256 over what decides its predictions.

    That is the fine-tuned tensors, the network around them, the labels in their order, how an input is
    decoded, the temperature to four digits, since another CPU may fit it otherwise in the digits after
    these, and the recipe, the data and the pretrained weights that all of it comes from. The environment is
    not: what was installed changes the version only if it changes the weights.

    Args:
        classifier: The checkpoint's network.
        card: The checkpoint's description beside its weights.
        reference: The checkpoint's answers, with the temperature.
        lineage: Hashes of the recipe, the data and the weights that the model was made from.

    Returns:
        Twelve hexadecimal digits.
    """
    document = {
        "tensors": hash_tensors(classifier.saved().state_dict()),
        "network": _decisive(card.network),
        "labels": card.labels,
        "input": card.input.model_dump(mode="json"),
        "temperature": f"{reference.temperature:.4g}",
        "origin": [lineage.recipe_sha256, lineage.data_sha256, lineage.weights_sha256],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:VERSION_DIGITS]


def _decisive(value: object) -> object:
    """Return a network's description without what changes no prediction, at any depth."""
    if isinstance(value, dict):
        return {key: _decisive(each) for key, each in value.items() if key not in NOT_DECISIVE}
    return value
