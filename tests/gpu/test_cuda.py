"""ONNX Runtime on CUDA: all of the model there, TF32 off in fp32, and receipts that pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from pipeline.files.layout import RunFolder
from pipeline.verify.checks import failures
from serving.model.errors import ProviderError
from serving.model.runtimes.onnx import ON_SHAPES, OnnxSession
from tests.gpu.conftest import CUDA, Measure

pytestmark = pytest.mark.slow


def test_session_runs_on_cuda_but_for_the_arithmetic_on_shapes(run: RunFolder) -> None:
    in_use = OnnxSession(run.model, runtime="onnxruntime-cuda").in_use
    assert in_use.nodes[CUDA] > sum(in_use.nodes.values()) / 2
    assert set(in_use.elsewhere) <= {"CPUExecutionProvider"}
    assert set(in_use.elsewhere.get("CPUExecutionProvider", {})) <= ON_SHAPES


def test_receipt_of_fp32_passes_with_tf32_off(run: RunFolder, measure: Measure) -> None:
    receipt = measure(run.model, "onnxruntime-cuda", "fp32")
    assert receipt.in_use.provider == CUDA
    assert failures(receipt) == []


def test_receipt_of_fp16_passes(half: Path, measure: Measure) -> None:
    assert failures(measure(half, "onnxruntime-cuda", "fp16")) == []


def make_unary(path: Path, operator: str) -> Path:
    """A graph of an operator between two additions, on matrices."""
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 3]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    nodes = [
        helper.make_node("Add", ["x", "x"], ["doubled"]),
        helper.make_node(operator, ["doubled"], ["middle"]),
        helper.make_node("Add", ["middle", "middle"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()
    )
    return path


def test_session_refuses_a_model_that_needs_the_cpu(tmp_path: Path) -> None:
    assert "Det" not in ON_SHAPES
    with pytest.raises(ProviderError, match="CPUExecutionProvider runs Det") as refused:
        OnnxSession(make_unary(tmp_path / "det.onnx", "Det"), runtime="onnxruntime-cuda")
    assert refused.value.code == "provider_partial"


def test_session_accepts_the_same_model_without_that_operator(tmp_path: Path) -> None:
    session = OnnxSession(make_unary(tmp_path / "exp.onnx", "Neg"), runtime="onnxruntime-cuda")
    assert np.array_equal(
        session.run({"x": np.ones((2, 3, 3), np.float32)}), np.full((2, 3, 3), -4, np.float32)
    )
