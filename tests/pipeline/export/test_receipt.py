"""The receipt on a healthy export, and on broken ones: each fault must fail it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pipeline.data.samples import read_samples
from pipeline.evaluate.calibration import softmax
from pipeline.export.receipt import BATCH_SIZES, LIMITS, Reference, Scores, build_receipt, compare
from pipeline.export.stage import _read_reference
from pipeline.layout import RunFolder
from serving.files import hash_file
from serving.inputs.item import Item
from serving.predictor import Predictor, load_predictor

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


def receipt_of(run: RunFolder, predictor: Predictor | None = None, reference: Reference | None = None) -> dict[str, object]:
    samples = [sample for sample in read_samples(run) if sample.split == "test"]
    loaded = predictor or load_predictor(run.bundle, require_receipts=False)
    return build_receipt(loaded, samples, reference or _read_reference(run), LIMITS["onnx-fp32"])


def rewrite(run: RunFolder, change: object) -> None:
    """Change the ONNX file as a faulty export would, hash and manifest included."""
    model = onnx.load(run.model)
    change(model)  # type: ignore[operator]
    onnx.save(model, run.model)
    manifest = json.loads((run.bundle / "manifest.json").read_text())
    manifest["artifacts"][0] |= {"sha256": hash_file(run.model), "receipt": None}
    (run.bundle / "manifest.json").write_text(json.dumps(manifest))


def scale_initializers(factor: float, shape: tuple[int, ...] | None = None):
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if shape is None or tuple(tensor.dims) == shape:
                value = numpy_helper.to_array(tensor)
                if value.dtype == np.float32:
                    tensor.CopyFrom(numpy_helper.from_array(value * np.float32(factor), tensor.name))

    return change


def test_receipt_passes_when_the_export_is_healthy(run: RunFolder) -> None:
    receipt = receipt_of(run)
    assert receipt["passed"] is True
    assert receipt["agreeing"] == receipt["samples"] == sum(s.split == "test" for s in read_samples(run))
    assert receipt["max_abs_logits"] < 1e-4
    assert receipt["flips"] == []
    assert receipt == json.loads(run.receipt.read_text()), "the same files give the same receipt"


@pytest.mark.parametrize("factor", [1.001, 0.99])
def test_receipt_fails_when_weights_are_of_another_run(run: RunFolder, factor: float) -> None:
    rewrite(run, scale_initializers(factor))
    assert receipt_of(run)["passed"] is False


def test_receipt_fails_when_normalisation_is_wrong(run: RunFolder) -> None:
    rewrite(run, scale_initializers(1.02, shape=(3,)))
    assert receipt_of(run)["passed"] is False


def test_receipt_fails_when_the_temperature_is_wrong(run: RunFolder) -> None:
    reference = _read_reference(run)
    assert receipt_of(run, reference=replace(reference, temperature=reference.temperature * 1.01))["passed"] is False


def faulty(run: RunFolder, **methods: object) -> Predictor:
    predictor = load_predictor(run.bundle, require_receipts=False)
    decode, score = predictor.decode, predictor.score
    change_item, change_rows = methods.get("decode"), methods.get("score")
    if change_item:
        predictor.decode = lambda data: Item(change_item(decode(data).array))
    if change_rows:
        predictor.score = lambda arrays: change_rows(score(arrays))
    return predictor


FAULTS = {
    "BGR for RGB": {"decode": lambda pixels: np.ascontiguousarray(pixels[:, :, ::-1])},
    "mirrored": {"decode": lambda pixels: np.ascontiguousarray(pixels[:, ::-1])},
    "one pixel off": {"decode": lambda pixels: np.roll(pixels, 1, axis=1)},
    "darker by one": {"decode": lambda pixels: np.maximum(pixels, 1) - 1},
    "labels permuted": {"score": lambda rows: np.ascontiguousarray(rows[:, ::-1])},
    "a label missing": {"score": lambda rows: rows[:, :1]},
    "logits instead of probabilities": {"score": np.log},
    "not normalised": {"score": lambda rows: rows * np.float32(0.999)},
    "depends on the batch": {"score": lambda rows: rows if len(rows) == 1 else np.roll(rows, 1, axis=0)},
    "NaN": {"score": lambda rows: np.where(rows > 0.5, np.nan, rows)},
    "constant": {"score": lambda rows: np.full_like(rows, 0.5)},
    "rounded to two digits": {"score": lambda rows: np.round(rows, 2)},
}


@pytest.mark.parametrize("name", FAULTS)
def test_receipt_fails_when_serving_is_faulty(run: RunFolder, name: str) -> None:
    receipt = receipt_of(run, faulty(run, **FAULTS[name]))
    assert receipt["passed"] is False
    json.dumps(receipt, allow_nan=False)


def same(rows: np.ndarray) -> Scores:
    return Scores(rows, dict.fromkeys(BATCH_SIZES, rows), np.arange(len(rows)))


def test_compare_finds_no_difference_when_the_model_is_surer_than_float32_can_say() -> None:
    logits = np.random.default_rng(0).normal(0, 40, (50, 3)).astype(np.float32)
    reference = Reference(logits, logits.argmax(axis=1), ["x"] * 50, temperature=0.2, checkpoint_sha256="x")
    scaled = torch.from_numpy(logits) / 0.2
    measured = compare(same(torch.softmax(scaled, dim=1).numpy()), reference, margin=1e-3)
    assert measured["max_abs_logits"] < 1e-4


def test_compare_finds_no_difference_when_there_is_none() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
    reference = Reference(logits, np.arange(50) % 3, ["x"] * 50, temperature=1.7, checkpoint_sha256="x")
    rows = softmax(logits, 1.7).astype(np.float32)
    measured = compare(same(rows), reference, margin=1e-3)
    assert measured["max_abs_logits"] < 1e-5
    assert abs(measured["mean_kl"]) < 1e-8
    assert measured["metric_drop"] == 0
