"""The stage ``export``: the bundle with the fp32 file, and further model files to be proven."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts.checkpoint import CheckpointCard, hash_checkpoint, load_checkpoint
from pipeline.artifacts.formats import FORMATS, SOURCE, SOURCE_FILE
from pipeline.artifacts.limits import limits_for
from pipeline.artifacts.onnx import answer, to_onnx
from pipeline.errors import DataError, GraftError
from pipeline.export.classifier import ServedClassifier
from pipeline.export.half import to_half
from pipeline.export.int8 import dynamic, static
from pipeline.export.temperature import scale_temperature
from pipeline.export.tensorrt import MAX_BATCH_SIZE, make_plan, ranges_for, require_tensorrt, wrap_plan
from pipeline.files import atomic
from pipeline.files.layout import RunFolder, cache_folder
from pipeline.files.samples import Sample, digest, evenly, read_samples
from pipeline.machine.versions import installed_versions
from pipeline.measures.reference import Reference, read_reference
from pipeline.measures.temperature import correction
from pipeline.modalities.registry import find_modality, modality_of
from pipeline.modalities.training import Classifier
from pipeline.recipe.reading import hash_recipe
from pipeline.recipe.sections import Recipe
from serving.model.files import FileRef, hash_file
from serving.model.inputs.item import Feeds, Preprocessor
from serving.model.inputs.kind import InputSpec
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import MANIFEST_FILE, Artifact, Lineage, Manifest, hash_labels
from serving.model.runtimes.session import Precision

log = logging.getLogger("graft")
REFERENCE_FILE = "reference.npz"


@dataclass(frozen=True)
class Making:
    """What the further files are made from.

    Attributes:
        recipe: The run's.
        run: Its folder.
        classifier: The checkpoint, in evaluation mode.
        preprocessor: Of its input.
        reference: What it answers.
        source: The fp32 ONNX file's bytes.
        metadata: What every file of the run carries.
        input: The model's input.
        folder: Where a file goes that belongs beside the one that is made.
    """

    recipe: Recipe
    run: RunFolder
    classifier: Classifier
    preprocessor: Preprocessor
    reference: Reference
    source: bytes
    metadata: dict[str, str]
    input: InputSpec
    folder: Path


def export(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's bundle, not yet proven: serving refuses it until ``verify`` has passed; and the further files beside it."""
    classifier, card = load_checkpoint(run.checkpoint)
    preprocessor = open_preprocessor(card.input, run.checkpoint)
    reference = read_reference(run.reference)
    lineage = Lineage(
        recipe_sha256=hash_recipe(recipe),
        data_sha256=digest(read_samples(run)),
        weights_sha256=card.weights_sha256,
        checkpoint_sha256=hash_checkpoint(run.checkpoint),
        versions=installed_versions(),
    )
    metadata = {
        "graft.name": recipe.name,
        "graft.labels": json.dumps(card.labels, ensure_ascii=False),
        "graft.input": card.input.model_dump_json(),
        "graft.lineage": lineage.model_dump_json(),
    }
    source = _to_onnx(recipe, classifier, preprocessor, reference.temperature, metadata)
    _write_bundle(recipe, run, card, lineage, source)
    with atomic.folder(run.candidates) as folder:
        making = Making(
            recipe, run, classifier, preprocessor, reference, source, metadata, card.input, folder
        )
        how = {}
        for file in dict.fromkeys(
            FORMATS[name].file for name in recipe.export.further if FORMATS[name].file != SOURCE_FILE
        ):
            content, how[file] = _make(file, making)
            if content is not None:
                atomic.write_bytes(folder / file, content)
            log.info(
                "export: %s, %s",
                file,
                f"{len(content) / 1e6:.1f} MB, to be proven"
                if content
                else f"not made: {how[file]['because']}",
            )
        atomic.write_json(folder / run.made.name, how)


def _to_onnx(
    recipe: Recipe,
    classifier: Classifier,
    preprocessor: Preprocessor,
    temperature: float,
    metadata: dict[str, str],
) -> bytes:
    return to_onnx(
        ServedClassifier(classifier, temperature).eval(),
        preprocessor.collate([preprocessor.blank()] * 2),
        output_name="probabilities",
        metadata=metadata,
        dynamic_axes=modality_of(recipe).DYNAMIC_AXES,
    )


def _write_bundle(
    recipe: Recipe, run: RunFolder, card: CheckpointCard, lineage: Lineage, source: bytes
) -> None:
    sha256 = hashlib.sha256(source).hexdigest()
    served = FORMATS[SOURCE]
    manifest = Manifest(
        name=recipe.name,
        version=sha256[:12],
        labels=card.labels,
        labels_sha256=hash_labels(card.labels),
        input=card.input,
        artifacts=(
            Artifact(
                name=SOURCE,
                file=served.file,
                sha256=sha256,
                runtime=served.runtime,
                precision=served.precision,
            ),
        ),
        reference=FileRef(file=REFERENCE_FILE, sha256=hash_file(run.reference)),
        lineage=lineage,
    )
    with atomic.folder(run.bundle) as folder:
        atomic.write_bytes(folder / served.file, source)
        atomic.write_bytes(folder / REFERENCE_FILE, run.reference.read_bytes())
        for ref in card.input.files():
            atomic.write_bytes(folder / ref.file, (run.checkpoint / ref.file).read_bytes())
        atomic.write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
    log.info("export: %s, %.1f MB, version %s", run.model, len(source) / 1e6, manifest.version)


Made = tuple[bytes | None, dict[str, Any]]


def _make(file: str, making: Making) -> Made:
    """A further file, or why there is none: a format that cannot be made is no reason to lose the others."""
    try:
        return MAKERS[file](making)
    except DataError:  # it is the data that changed
        raise
    except Exception as error:  # exporters, quantisers and builders raise many unrelated types
        log.debug("export: %s", file, exc_info=True)
        return None, {
            "because": f"it cannot be made: {(str(error).splitlines() or [''])[0] or type(error).__name__}"
        }


def _make_half(making: Making) -> Made:
    temperature = making.reference.temperature
    content = _to_onnx(
        making.recipe, to_half(making.classifier), making.preprocessor, temperature, making.metadata
    )
    return _recalibrate(making, content, {"method": "float16 backbone between float32 ends"})


def _make_int8(making: Making) -> Made:
    kind = static if static.is_convolutional(making.source) else dynamic
    limits, _ = limits_for("int8", making.recipe.export.limits.get("onnx-int8"))
    samples = _samples(making, "calibration") or _samples(making, "validation")
    most = find_modality(making.recipe.modality).calibration_samples
    chosen = [samples[index] for index in evenly(len(samples), most)]
    made = kind.make_int8(making.source, _feeds(making, chosen), limits)
    log.info("export: int8, %s%s", made.method, f"; fp32 stay {', '.join(made.kept)}" if made.kept else "")
    how = {
        "method": made.method,
        "calibrated_on": f"{len(chosen)} samples of {chosen[0].split}",
        "kept_fp32": list(made.kept),
    }
    if kind is dynamic:  # it scales a whole batch, so that an answer would depend on its neighbours
        how["max_batch_size"] = 1
    return _recalibrate(making, made.model, how)


def _recalibrate(making: Making, content: bytes, how: dict[str, Any]) -> Made:
    """Give a file the temperature that suits its own confidence, as the checkpoint's was found: on validation."""
    exact = making.reference.validation
    by_hash = {sample.sha256: sample for sample in _samples(making, "validation")}
    answers = answer(content, _feeds(making, [by_hash[sha256] for sha256 in exact.sha256]))
    if not np.isfinite(answers).all():
        return None, {**how, "because": "its answers are not finite: a value overflows"}
    factor = correction(answers, exact, making.reference.temperature)
    return scale_temperature(content, factor), {
        **how,
        "because": None,
        "temperature": making.reference.temperature * factor,
    }


def _samples(making: Making, split: str) -> list[Sample]:
    return [sample for sample in read_samples(making.run) if sample.split == split]


def _feeds(making: Making, samples: Sequence[Sample]) -> list[Feeds]:
    """Each sample as a single input of the model."""
    return [
        making.preprocessor.collate([making.preprocessor.decode(sample.read()).array]) for sample in samples
    ]


def _make_plan(making: Making, precision: Precision) -> Made:
    try:
        require_tensorrt()  # before the work on a file that nothing could be built from
        source, how = (making.source, {}) if precision == "fp32" else _make_half(making)
        if source is None:
            return None, how
        plan = make_plan(
            source,
            precision,
            making.folder,
            f"model-tensorrt-{precision}",
            ranges_for(making.input),
            timing_cache=cache_folder() / "tensorrt.timings",
        )
    except GraftError as error:
        return None, {"because": str(error)}
    made = {
        "method": "TensorRT plan, strongly typed",
        "max_batch_size": MAX_BATCH_SIZE,
        "plan": plan.model_dump(mode="json"),
    }
    return wrap_plan(source, plan), {**how, **made, "because": None}


MAKERS: dict[str, Callable[[Making], Made]] = {
    "model-fp16.onnx": _make_half,
    "model-int8.onnx": _make_int8,
    "model-tensorrt-fp32.onnx": partial(_make_plan, precision="fp32"),
    "model-tensorrt-fp16.onnx": partial(_make_plan, precision="fp16"),
}
