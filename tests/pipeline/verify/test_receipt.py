"""The receipt on a healthy export, and on broken ones: each fault must fail it, or be refused before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pipeline.artifacts.checkpoint import read_card
from pipeline.artifacts.limits import LIMITS
from pipeline.export.temperature import scale_temperature
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.measures.reference import Answers, Reference
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.verify.comparison import compare
from pipeline.verify.scoring import BATCH_SIZES, Scores
from serving.model.bundle import open_bundle
from serving.model.errors import BundleError
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.item import Item
from serving.model.scorer import Scorer
from tests.pipeline.verify.receipts import failed, load, receipt_of

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


def edit_manifest(run: RunFolder, **changes: object) -> None:
    path = run.bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(run: RunFolder, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(run.model)
    change(model)
    run.model.write_bytes(model.SerializeToString())


def scale_weights(factor: float, shape: tuple[int, ...] | None = None) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.dtype == np.float32 and (tuple(tensor.dims) == shape or shape is None):
                tensor.CopyFrom(numpy_helper.from_array(value * np.float32(factor), tensor.name))

    return change


def train_otherwise(model: onnx.ModelProto) -> None:
    """The same graph and names, with the weights of another training: they are spread as these are."""
    rng = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim > 1:
            tensor.CopyFrom(
                numpy_helper.from_array(rng.permutation(value.ravel()).reshape(value.shape), tensor.name)
            )


def pixel_scale(model: onnx.ModelProto) -> onnx.TensorProto:
    """What pixels of 0 to 255 are multiplied by."""
    multiplication = next(node for node in model.graph.node if node.op_type == "Mul")
    return next(tensor for tensor in model.graph.initializer if tensor.name in multiplication.input)


def forget_255(model: onnx.ModelProto) -> None:
    tensor = pixel_scale(model)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(255), tensor.name))


def freeze_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def depend_on_batch(model: onnx.ModelProto) -> None:
    """Give every input of a batch the largest logits of the batch: alone, its own."""
    last = next(node for node in model.graph.node if node.op_type == "Softmax")
    axes = numpy_helper.from_array(np.array([0], np.int64), "batch_axis")
    model.graph.initializer.append(axes)
    mean = onnx.helper.make_node("ReduceMax", [last.input[0], "batch_axis"], ["batch_max"], keepdims=1)
    scaled = onnx.helper.make_node("Sub", ["batch_max", last.input[0]], ["behind"])
    shifted = onnx.helper.make_node("Add", [last.input[0], "behind"], ["mixed"])
    nodes = list(model.graph.node)
    nodes[nodes.index(last) : nodes.index(last)] = [mean, scaled, shifted]
    last.input[0] = "mixed"
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def overflow_half(model: onnx.ModelProto) -> None:
    """Round a value that lies beyond float16 through it: infinity."""
    product = next(node for node in model.graph.node if node.op_type == "Gemm")
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e5, np.float32), "far"))
    added = [
        onnx.helper.make_node("Add", [product.output[0], "far"], ["shifted"]),
        onnx.helper.make_node("Cast", ["shifted"], ["narrow"], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", ["narrow"], ["wide"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Sub", ["wide", "far"], ["back"]),
    ]
    nodes = list(model.graph.node)
    for node in nodes:
        if product.output[0] in node.input:
            node.input[list(node.input).index(product.output[0])] = "back"
    nodes[nodes.index(product) + 1 : nodes.index(product) + 1] = added
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def test_receipt_passes_when_the_export_is_healthy(run: RunFolder) -> None:
    receipt = receipt_of(run)
    assert failed(receipt) == set()
    assert receipt["agreeing"] == receipt["samples"] == sum(s.split == "test" for s in read_samples(run))
    assert receipt["max_abs_logits"] < 1e-4
    assert receipt["flips"] == []
    assert receipt["in_use"]["nodes"].keys() == {"CPUExecutionProvider"}
    assert receipt["metrics_difference"]["macro_f1"] == {"value": 0.0, "interval_95": [0.0, 0.0]}
    assert receipt == json.loads(run.receipt.read_text()), "the same files give the same receipt"


# What an export can do to the file: the fault, and what has to notice it.
FILE_FAULTS: dict[str, tuple[Callable[[onnx.ModelProto], None], set[str]]] = {
    "another run's weights under the same names": (train_otherwise, {"max_scaled_logits", "mean_kl"}),
    "weights a thousandth off": (scale_weights(1.001), {"max_scaled_logits"}),
    "wrong mean and deviation": (scale_weights(1.02, shape=(3,)), {"max_scaled_logits"}),
    "x255 missing": (forget_255, {"max_scaled_logits"}),
    "frozen batch dimension": (freeze_batch, {"does_not_run"}),
    "output depends on the batch": (depend_on_batch, {"batch_difference"}),
    "float16 overflow": (overflow_half, {"not_finite"}),
}


@pytest.mark.parametrize("name", FILE_FAULTS)
def test_receipt_fails_when_the_file_is_faulty(run: RunFolder, name: str) -> None:
    change, noticed_by = FILE_FAULTS[name]
    rewrite(run, change)
    assert noticed_by <= failed(receipt_of(run))


@pytest.mark.parametrize(
    ("tier", "factor"),
    [("fp32", 0.99), ("fp32", 1.01), ("fp16", 1.05), ("bf16", 0.95), ("int8", 0.9), ("int8", 2.0)],
)
def test_receipt_fails_when_the_temperature_is_wrong(run: RunFolder, tier: str, factor: float) -> None:
    run.model.write_bytes(scale_temperature(run.model.read_bytes(), factor))
    receipt = receipt_of(run, tier=tier)
    assert "confidence_error" in failed(receipt)
    assert receipt["confidence"] == pytest.approx(1 / factor, rel=1e-3)
    assert receipt["agreeing"] == receipt["samples"], "no answer flips"


@pytest.mark.parametrize("tier", ["fp16", "bf16", "int8"])
def test_receipt_passes_in_every_tier_when_healthy(run: RunFolder, tier: str) -> None:
    assert failed(receipt_of(run, tier=tier)) == set()


# What no limit is too wide for.
GROSS = (
    "another run's weights under the same names",
    "x255 missing",
    "frozen batch dimension",
    "output depends on the batch",
    "float16 overflow",
)


@pytest.mark.parametrize("tier", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("name", GROSS)
def test_receipt_of_a_rounded_artifact_fails_too_when_the_file_is_faulty(
    run: RunFolder, name: str, tier: str
) -> None:
    rewrite(run, FILE_FAULTS[name][0])
    assert failed(receipt_of(run, tier=tier))


@pytest.mark.parametrize("tier", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize(
    "name",
    [
        "labels permuted",
        "a label missing",
        "logits instead of probabilities",
        "not normalised",
        "NaN",
        "constant",
    ],
)
def test_receipt_of_a_rounded_artifact_fails_too_when_serving_is_faulty(
    run: RunFolder, name: str, tier: str
) -> None:
    assert failed(receipt_of(run, faulty(run, **SERVING_FAULTS[name]), tier=tier))


def faulty(run: RunFolder, **methods: Callable[[np.ndarray], np.ndarray]) -> Scorer:
    scorer = load(run)
    decode, score = scorer.decode, scorer.score
    change_item, change_rows = methods.get("decode"), methods.get("score")
    if change_item:
        scorer.decode = lambda data: Item(change_item(decode(data).array))
    if change_rows:
        scorer.score = lambda arrays: change_rows(score(arrays))
    return scorer


SERVING_FAULTS = {
    "BGR for RGB": {"decode": lambda pixels: np.ascontiguousarray(pixels[:, :, ::-1])},
    "mirrored": {"decode": lambda pixels: np.ascontiguousarray(pixels[:, ::-1])},
    "one pixel off": {"decode": lambda pixels: np.roll(pixels, 1, axis=1)},
    "darker by one": {"decode": lambda pixels: np.maximum(pixels, 1) - 1},
    "labels permuted": {"score": lambda rows: np.ascontiguousarray(rows[:, ::-1])},
    "a label missing": {"score": lambda rows: rows[:, :1]},
    "logits instead of probabilities": {"score": np.log},
    "not normalised": {"score": lambda rows: rows * np.float32(0.999)},
    "NaN": {"score": lambda rows: np.where(rows > 0.5, np.nan, rows)},
    "constant": {"score": lambda rows: np.full_like(rows, 0.5)},
    "rounded to two digits": {"score": lambda rows: np.round(rows, 2)},
}


@pytest.mark.parametrize("name", SERVING_FAULTS)
def test_receipt_fails_when_serving_is_faulty(run: RunFolder, name: str) -> None:
    assert failed(receipt_of(run, faulty(run, **SERVING_FAULTS[name])))


@pytest.mark.parametrize(
    "change",
    [{"interpolation": "lanczos"}, {"interpolation": "nearest"}, {"crop_pct": 0.8}, {"crop_mode": "squash"}],
)
def test_receipt_fails_when_pictures_are_resized_otherwise(run: RunFolder, change: dict[str, object]) -> None:
    scorer, spec = load(run), read_card(run.checkpoint).input
    assert all(getattr(spec, key) != value for key, value in change.items())
    scorer.preprocessor = ImagePreprocessor(spec.model_copy(update=change))
    assert "max_scaled_logits" in failed(receipt_of(run, scorer))


def test_receipt_fails_when_the_labels_are_permuted(run: RunFolder) -> None:
    assert failed(receipt_of(run, labels=("plain", "bars"))) == {"wrong_labels"}


@pytest.mark.parametrize("labels", [["plain", "bars"], ["bars"], ["bars", "plain", "other"]])
def test_bundle_is_refused_when_a_label_is_moved_missing_or_added(run: RunFolder, labels: list[str]) -> None:
    edit_manifest(run, labels=labels)
    with pytest.raises(BundleError):
        open_bundle(run.bundle)


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz", "receipts/onnx-fp32.json"])
def test_bundle_is_refused_when_one_bit_of_a_file_flips(run: RunFolder, name: str) -> None:
    content = bytearray((run.bundle / name).read_bytes())
    content[len(content) // 3] ^= 16
    (run.bundle / name).write_bytes(content)
    with pytest.raises(BundleError) as refused:
        open_bundle(run.bundle)
    assert refused.value.code == "hash_mismatch"


def as_reference(logits: np.ndarray, targets: np.ndarray, temperature: float) -> Reference:
    answers = Answers(logits, targets, ["00" * 32] * len(logits))
    return Reference(answers, answers, temperature, tuple("abc"))


def same(rows: np.ndarray) -> Scores:
    return Scores(rows, dict.fromkeys(BATCH_SIZES, rows), np.arange(len(rows)))


def test_compare_finds_no_difference_when_the_model_is_surer_than_float32_can_say() -> None:
    logits = np.random.default_rng(0).normal(0, 40, (50, 3)).astype(np.float32)
    scaled = torch.from_numpy(logits) / 0.2
    reference = as_reference(logits, logits.argmax(axis=1), 0.2)
    measured = compare(same(torch.softmax(scaled, dim=1).numpy()), reference, LIMITS["fp32"])
    assert measured.max_abs_logits < 1e-4


def test_compare_finds_no_difference_when_there_is_none() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
    reference = as_reference(logits, np.arange(50) % 3, 1.7)
    measured = compare(
        same(CLASSIFICATION.probabilities(logits, 1.7).astype(np.float32)), reference, LIMITS["fp32"]
    )
    assert measured.max_abs_logits < 1e-5
    assert abs(measured.mean_kl) < 1e-8
    assert measured.metric_drop == 0


def test_compare_lets_a_tie_fall_either_way() -> None:
    """A flip below the margin is no loss, though the label happened to be the one that is lost."""
    logits = np.concatenate([np.array([[1e-6, 0.0]]), np.tile([[3.0, -3.0], [-3.0, 3.0]], (10, 1))]).astype(
        np.float32
    )
    targets = logits.argmax(axis=1)
    rows = CLASSIFICATION.probabilities(logits, 1.0)
    rows[0] = rows[0, ::-1]
    answers = Answers(logits, targets, ["00" * 32] * len(logits))
    measured = compare(
        same(rows.astype(np.float32)), Reference(answers, answers, 1.0, ("a", "b")), LIMITS["fp32"]
    )
    assert measured.agreeing == len(logits) - 1
    assert (measured.agreement, measured.ties, measured.metric_drop) == (1.0, 1, 0.0)
    assert measured.metrics_difference["accuracy"].value < 0, "it is reported all the same"


def test_compare_finds_batches_of_another_length() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
    rows = CLASSIFICATION.probabilities(logits, 1.7).astype(np.float32)
    measured = compare(
        replace(same(rows), batched={2: rows[::2]}),
        as_reference(logits, np.arange(50) % 3, 1.7),
        LIMITS["fp32"],
    )
    assert (measured.shape, measured.expected_shape) == ((25, 3), (50, 3))


def test_compare_counts_a_flip_between_batches_only_where_the_answer_is_clear() -> None:
    logits = np.array([[5.0, 0.0, 0.0], [1e-6, 0.0, -3.0], [0.0, 0.0, 4.0], [0.0, 4.0, 0.0]], np.float32)
    rows = CLASSIFICATION.probabilities(logits, 1.0).astype(np.float32)
    flipped = np.concatenate([rows[:2, [1, 0, 2]], rows[2:]])
    reference = as_reference(logits, np.array([0, 0, 2, 1]), 1.0)
    measured = compare(replace(same(rows), batched={2: flipped}), reference, LIMITS["fp32"])
    assert measured.batch_flips == 1
