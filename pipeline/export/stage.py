"""The stages ``export`` and ``verify``: a bundle, and the proof in it."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
import torch

from pipeline import atomic
from pipeline.data.samples import digest, read_samples
from pipeline.errors import GateFailedError, GraftError
from pipeline.export.classifier import ServedClassifier
from pipeline.export.receipt import FP32_CPU, Reference, build_receipt
from pipeline.finetune.checkpoint import hash_checkpoint, load_checkpoint, read_card
from pipeline.layout import RunFolder
from pipeline.onnx import to_onnx
from pipeline.recipe import Recipe, hash_recipe
from pipeline.versions import installed_versions
from serving.bundle import MANIFEST_FILE, Artifact, Lineage, Manifest, ReceiptRef, hash_file, hash_labels, open_bundle
from serving.predictor import load_predictor

log = logging.getLogger("graft")


def export(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's bundle, not yet proven: serving refuses it until ``verify`` has passed."""
    model, card = load_checkpoint(run.checkpoint)
    temperature = float(json.loads(run.calibration.read_bytes())["temperature"])
    lineage = Lineage(
        recipe_sha256=hash_recipe(recipe),
        data_sha256=digest(read_samples(run)),
        weights_sha256=card.weights_sha256,
        checkpoint_sha256=hash_checkpoint(run.checkpoint),
        versions=installed_versions(),
    )
    content = to_onnx(
        ServedClassifier(model, card.normalisation, temperature),
        torch.zeros(2, card.input.height, card.input.width, 3, dtype=torch.uint8),
        input_name="image",
        output_name="probabilities",
        metadata={
            "graft.name": recipe.name,
            "graft.labels": json.dumps(card.labels, ensure_ascii=False),
            "graft.input": card.input.model_dump_json(),
            "graft.lineage": lineage.model_dump_json(),
        },
    )
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        name=recipe.name,
        version=sha256[:12],
        labels=card.labels,
        labels_sha256=hash_labels(card.labels),
        input=card.input,
        artifacts=(Artifact(name="onnx-fp32", file=run.model.name, sha256=sha256),),
        lineage=lineage,
    )
    with atomic.folder(run.bundle) as partial:
        atomic.write_bytes(partial / run.model.name, content)
        atomic.write_json(partial / MANIFEST_FILE, manifest.model_dump(mode="json"))
    log.info("export: %s, %.1f MB, version %s", run.model, len(content) / 1e6, manifest.version)


def verify(_: Recipe, run: RunFolder) -> None:
    """Compare the bundle with the checkpoint on the whole test split, and write the receipt into the bundle.

    Raises:
        GateFailedError: A limit is missed. The receipt says which; the bundle stays unservable.
    """
    reference = _read_reference(run)
    samples = [sample for sample in read_samples(run) if sample.split == "test"]
    if [sample.sha256 for sample in samples] != reference.sha256:
        raise GraftError(f"{run.logits}: is of another test split than {run.samples}. Evaluate again: graft evaluate {run.root} --force")
    predictor = load_predictor(run.bundle, require_receipts=False)
    card = read_card(run.checkpoint)
    if (predictor.manifest.labels, predictor.manifest.input) != (card.labels, card.input):
        raise GraftError(f"{run.bundle}: labels or input are not the checkpoint's. Export again: graft export {run.root} --force")
    receipt = build_receipt(predictor, samples, reference, FP32_CPU)
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
    """Name the receipt in the manifest."""
    manifest = open_bundle(run.bundle, require_receipts=False).manifest
    ref = ReceiptRef(file=run.receipt.relative_to(run.bundle).as_posix(), sha256=hash_file(run.receipt), passed=passed)
    artifact = manifest.artifacts[0].model_copy(update={"receipt": ref})
    signed = manifest.model_copy(update={"artifacts": (artifact, *manifest.artifacts[1:])})
    atomic.write_json(run.bundle / MANIFEST_FILE, signed.model_dump(mode="json"))
