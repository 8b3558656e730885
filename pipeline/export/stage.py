"""The stages ``export`` and ``verify``: artifacts, and the proof without which none is published."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil

import numpy as np

from pipeline import atomic
from pipeline.data.samples import Sample, digest, read_samples
from pipeline.errors import GateFailedError, GraftError
from pipeline.export.classifier import ServedClassifier
from pipeline.export.publish import publish
from pipeline.export.quantize import make_int8
from pipeline.export.receipt import LIMITS, Reference, build_receipt
from pipeline.finetune.checkpoint import hash_checkpoint, load_checkpoint, read_card
from pipeline.layout import RunFolder
from pipeline.modalities.modality import modality_of
from pipeline.onnx import to_onnx
from pipeline.recipe.reading import hash_recipe
from pipeline.recipe.sections import Recipe
from pipeline.versions import installed_versions
from serving.bundle import MANIFEST_FILE, Artifact, Lineage, Manifest, ReceiptRef, hash_labels, open_bundle
from serving.files import hash_file
from serving.inputs.item import Feeds, Preprocessor
from serving.inputs.preprocessors import open_preprocessor
from serving.predictor import Predictor, load_predictor

log = logging.getLogger("graft")
SOURCE = "onnx-fp32"
CALIBRATION_SAMPLES = 2048


def export(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's bundle, not yet proven: serving refuses it until ``verify`` has passed; and the further artifacts beside it."""
    classifier, card = load_checkpoint(run.checkpoint)
    preprocessor = open_preprocessor(card.input, run.checkpoint)
    temperature = float(json.loads(run.calibration.read_bytes())["temperature"])
    lineage = Lineage(
        recipe_sha256=hash_recipe(recipe),
        data_sha256=digest(read_samples(run)),
        weights_sha256=card.weights_sha256,
        checkpoint_sha256=hash_checkpoint(run.checkpoint),
        versions=installed_versions(),
    )
    content = to_onnx(
        ServedClassifier(classifier, temperature).eval(),
        preprocessor.collate([preprocessor.blank()] * 2),
        output_name="probabilities",
        metadata={
            "graft.name": recipe.name,
            "graft.labels": json.dumps(card.labels, ensure_ascii=False),
            "graft.input": card.input.model_dump_json(),
            "graft.lineage": lineage.model_dump_json(),
        },
        dynamic_axes=modality_of(recipe).DYNAMIC_AXES,
    )
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        name=recipe.name,
        version=sha256[:12],
        labels=card.labels,
        labels_sha256=hash_labels(card.labels),
        input=card.input,
        artifacts=(Artifact(name=SOURCE, file=run.model.name, sha256=sha256),),
        lineage=lineage,
    )
    with atomic.folder(run.bundle) as partial:
        atomic.write_bytes(partial / run.model.name, content)
        for ref in card.input.files():
            atomic.write_bytes(partial / ref.file, (run.checkpoint / ref.file).read_bytes())
        atomic.write_json(partial / MANIFEST_FILE, manifest.model_dump(mode="json"))
    log.info("export: %s, %.1f MB, version %s", run.model, len(content) / 1e6, manifest.version)
    _write_candidates(recipe, run, content, preprocessor)


def _write_candidates(recipe: Recipe, run: RunFolder, content: bytes, preprocessor: Preprocessor) -> None:
    with atomic.folder(run.candidates) as partial:
        for name in recipe.export.further:
            made = make_int8(content, _calibration_inputs(run, preprocessor), LIMITS[name].min_cosine)
            atomic.write_bytes(partial / run.candidate(name).name, made)
            log.info("export: %s, %.1f MB, to be proven", name, len(made) / 1e6)


def _calibration_inputs(run: RunFolder, preprocessor: Preprocessor) -> list[Feeds]:
    """Single inputs of the validation split, evenly spread."""
    samples = [sample for sample in read_samples(run) if sample.split == "validation"]
    chosen = np.linspace(0, len(samples) - 1, min(CALIBRATION_SAMPLES, len(samples))).round().astype(np.int64)
    return [preprocessor.collate([preprocessor.decode(samples[index].read()).array]) for index in chosen]


def verify(recipe: Recipe, run: RunFolder) -> None:
    """Compare each artifact with the checkpoint on the whole test split; write the receipts, and publish what passes.

    Raises:
        GateFailedError: The fp32 artifact misses a limit. The receipt says which; the bundle stays unservable.
    """
    reference = _read_reference(run)
    samples = [sample for sample in read_samples(run) if sample.split == "test"]
    if [sample.sha256 for sample in samples] != reference.sha256:
        raise GraftError(f"{run.logits}: is of another test split than {run.samples}. Evaluate again: graft evaluate {run.root} --force")
    predictor = load_predictor(run.bundle, artifact=SOURCE, require_receipts=False)
    card = read_card(run.checkpoint)
    if (predictor.manifest.labels, predictor.manifest.input) != (card.labels, card.input):
        raise GraftError(f"{run.bundle}: labels or input are not the checkpoint's. Export again: graft export {run.root} --force")
    shutil.rmtree(run.published.parent, ignore_errors=True)  # what an earlier verification found
    _prove_source(run, predictor, samples, reference)
    states = {SOURCE: "published"}
    for name in recipe.export.further:
        states[name] = publish(run, name, predictor, samples, reference)
        log.info("verify: %s: %s", name, states[name])
    atomic.write_json(run.published, states)


def _prove_source(run: RunFolder, predictor: Predictor, samples: list[Sample], reference: Reference) -> None:
    receipt = build_receipt(predictor, samples, reference, LIMITS[SOURCE])
    atomic.write_json(run.receipt, receipt)
    _sign(run, passed=receipt["passed"])
    failed = [f"{check['name']} is {check['value']:g}, limit {check['limit']:g}" for check in receipt["checks"] if not check["passed"]]
    if failed:
        raise GateFailedError(
            f"{run.model}: does not predict what the checkpoint predicts: {'; '.join(failed)}. "
            f"Nothing is packaged. The receipt is {run.receipt}; export again: graft export {run.root} --force"
        )
    log.info("verify: %d of %d answers agree, max abs %.1e", receipt["agreeing"], receipt["samples"], receipt["max_abs_logits"])


def _read_reference(run: RunFolder) -> Reference:
    with np.load(run.logits, allow_pickle=False) as stored:
        return Reference(
            logits=stored["logits"],
            targets=stored["targets"],
            sha256=stored["sha256"].tolist(),
            temperature=float(json.loads(run.calibration.read_bytes())["temperature"]),
            checkpoint_sha256=hash_checkpoint(run.checkpoint),
        )


def _sign(run: RunFolder, *, passed: bool) -> None:
    """Name the receipt in the manifest, which then lists this artifact alone."""
    manifest = open_bundle(run.bundle, require_receipts=False).manifest
    ref = ReceiptRef(file=run.receipt.relative_to(run.bundle).as_posix(), sha256=hash_file(run.receipt), passed=passed)
    artifact = manifest.artifacts[0].model_copy(update={"receipt": ref})
    signed = manifest.model_copy(update={"artifacts": (artifact,)})
    atomic.write_json(run.bundle / MANIFEST_FILE, signed.model_dump(mode="json"))
