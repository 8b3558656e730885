"""A small model of what quantisation meets.

That is two products of one activation with an outlier channel, a sum, and a head.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

CHANNELS, HIDDEN, CLASSES, OUTLIER = 64, 16, 3, 5


def make_model(*, gemm: bool = False) -> bytes:
    """A model from float32 (batch, 64) to probabilities (batch, 3).

    Its first products are MatMuls, or Gemms with a transposed matrix.
    """
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(CHANNELS)[:, None] == OUTLIER, 0.002, 0.1)
    values = {name: (rng.normal(size=(CHANNELS, HIDDEN)) * rows).astype(np.float32) for name in ("a", "b")}
    if gemm:
        values = {name: np.ascontiguousarray(value.T) for name, value in values.items()}
    values |= {name: rng.normal(size=HIDDEN).astype(np.float32) for name in ("a_bias", "b_bias")}
    values |= {
        "head": rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
        "head_bias": np.zeros(CLASSES, np.float32),
    }
    if gemm:
        first = [
            helper.make_node("Gemm", ["x", n, f"{n}_bias"], [f"x{n}"], name=f"product_{n}", transB=1)
            for n in ("a", "b")
        ]
    else:
        first = [helper.make_node("MatMul", ["x", n], [f"x{n}"], name=f"product_{n}") for n in ("a", "b")]
    nodes = [
        *first,
        helper.make_node("Add", ["xa", "xb"], ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["hidden"], name="relu"),
        helper.make_node("Gemm", ["hidden", "head", "head_bias"], ["logits"], name="head"),
        helper.make_node("Softmax", ["logits"], ["y"], name="softmax"),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size])
        for n, size in (("x", CHANNELS), ("y", CLASSES))
    ]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in values.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key="graft.name", value="small")
    return model.SerializeToString()


def make_inputs(count: int = 120) -> list[dict[str, np.ndarray]]:
    rows = np.random.default_rng(1).normal(size=(count, 1, CHANNELS)).astype(np.float32)
    rows[:, :, OUTLIER] *= 60
    return [{"x": row} for row in rows]


def run(model: bytes, inputs: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feeds)[0] for feeds in inputs])
