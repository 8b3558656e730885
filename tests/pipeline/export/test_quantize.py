from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.export import quantize
from pipeline.export.quantize import make_int8, quantize_dynamic
from pipeline.export.smoothing import measure_peaks, smooth

CHANNELS, CLASSES = 64, 3


def make_model(seed: int = 0) -> bytes:
    """Two products of one activation with an outlier channel, which hardly matters, added and turned into probabilities."""
    rng = np.random.default_rng(seed)
    rows = np.where(np.arange(CHANNELS)[:, None] == 5, 0.002, 0.1)
    tensors = [numpy_helper.from_array((rng.normal(size=(CHANNELS, CLASSES)) * rows).astype(np.float32), name) for name in ("a", "b")]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"], name="one"),
        helper.make_node("MatMul", ["x", "b"], ["xb"], name="two"),
        helper.make_node("Add", ["xa", "xb"], ["logits"], name="add"),
        helper.make_node("Softmax", ["logits"], ["y"], name="softmax"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in (("x", CHANNELS), ("y", CLASSES))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def make_inputs(count: int = 40) -> list[dict[str, np.ndarray]]:
    rows = np.random.default_rng(1).normal(size=(count, 1, CHANNELS)).astype(np.float32)
    rows[:, :, 5] *= 60
    return [{"x": row} for row in rows]


def run(model: bytes, inputs: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feeds)[0] for feeds in inputs])


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_smooth_leaves_every_answer_as_it_was(strength: float) -> None:
    model, inputs = make_model(), make_inputs()
    changed = smooth(model, measure_peaks(model, inputs), strength)
    assert np.abs(run(changed, inputs) - run(model, inputs)).max() < 1e-5
    assert sum(node.op_type == "Mul" for node in onnx.load_from_string(changed).graph.node) == 1, "both products share it"


def test_measure_peaks_finds_the_outlier_channel() -> None:
    peaks = measure_peaks(make_model(), make_inputs())
    assert list(peaks) == ["x"]
    assert int(peaks["x"].argmax()) == 5
    assert np.allclose(peaks["x"], np.abs(np.concatenate([feeds["x"] for feeds in make_inputs()])).max(axis=0))


def test_make_int8_smooths_where_that_is_better() -> None:
    model, inputs = make_model(), make_inputs()
    exact = run(model, inputs)
    plain, chosen = (np.abs(run(made, inputs) - exact).mean() for made in (quantize_dynamic(model), make_int8(model, inputs, 0.0)))
    assert chosen < 0.6 * plain


def test_make_int8_takes_the_strength_that_changes_answers_least(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make_model(), make_inputs()
    made = {s: quantize_dynamic(model if s is None else smooth(model, measure_peaks(model, inputs), s)) for s in quantize.STRENGTHS}
    exact = run(model, inputs).astype(np.float64)
    divergences = {s: (exact * (np.log(exact) - np.log(run(m, inputs)))).sum(axis=1).mean() for s, m in made.items()}
    assert make_int8(model, inputs, 0.0) == made[min(divergences, key=divergences.__getitem__)]


def test_make_int8_puts_the_most_harmful_products_back_when_the_limit_is_near() -> None:
    model, inputs = make_model(), make_inputs()
    made = onnx.load_from_string(make_int8(model, inputs, 1.0))
    kept = [node.name for node in made.graph.node if node.op_type == "MatMul"]
    assert len(kept) == 1, "a quarter of two, but at least one"
    exact = run(model, inputs)
    other = quantize_dynamic(model, ["two" if kept == ["one"] else "one"])
    assert np.abs(run(quantize_dynamic(model, kept), inputs) - exact).mean() < np.abs(run(other, inputs) - exact).mean()


def test_make_int8_quantises_a_model_whose_products_are_all_general() -> None:
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in (("w", (CHANNELS, 3)), ("b", (3,)))
    ]
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["logits"], name="gemm"), helper.make_node("Softmax", ["logits"], ["y"], name="s")]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in (("x", CHANNELS), ("y", 3))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    made = make_int8(model, make_inputs(8), 0.98)
    assert run(made, make_inputs(8)).shape == (8, 3)
