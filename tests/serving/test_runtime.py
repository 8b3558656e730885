from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from serving import runtime
from serving.errors import ProviderError
from serving.runtime import OnnxSession, cpu_limit


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", value[:1], value[1:])
    path = tmp_path / "double.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_session_runs_on_the_cpu_when_asked_to(doubler: Path, batch: int) -> None:
    session = OnnxSession(doubler, device="cpu")
    assert session.provider == "CPUExecutionProvider"
    rows = np.arange(3 * batch, dtype=np.float32).reshape(batch, 3)
    assert np.array_equal(session.run({"x": rows}), rows * 2)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine may have CUDA")
def test_onnx_session_refuses_when_cuda_does_not_load(doubler: Path) -> None:
    with pytest.raises(ProviderError) as refused:
        OnnxSession(doubler, device="cuda")
    assert refused.value.code in {"provider_failed", "provider_missing", "not_loaded"}
    assert "CUDAExecutionProvider" in refused.value.message


def test_onnx_session_refuses_when_provider_is_not_compiled_in(doubler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="pip install"):
        OnnxSession(doubler, device="cuda")


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (2.5, 2), (0.5, 1), (64.0, 8)])
def test_cpu_limit_follows_the_container_when_it_has_a_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(runtime, "_cgroup_quota", lambda: quota)
    assert cpu_limit() == expected
