from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from serving.model.errors import ProviderError
from serving.model.runtimes import libraries, machine
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.onnx import OnnxSession, _require_assignment
from serving.model.runtimes.opening import open_session
from serving.model.runtimes.openvino import has_bf16


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", value[:1], value[1:])
    path = tmp_path / "double.onnx"
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()
    )
    return path


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_session_runs_on_the_cpu_when_asked_to(doubler: Path, batch: int) -> None:
    session = OnnxSession(doubler, runtime="onnxruntime-cpu")
    assert session.in_use.provider == "CPUExecutionProvider"
    rows = np.arange(3 * batch, dtype=np.float32).reshape(batch, 3)
    assert np.array_equal(session.run({"x": rows}), rows * 2)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine may have CUDA")
def test_onnx_session_refuses_when_cuda_does_not_load(doubler: Path) -> None:
    with pytest.raises(ProviderError) as refused:
        OnnxSession(doubler, runtime="onnxruntime-cuda")
    assert refused.value.code == "provider_failed"
    assert "CUDAExecutionProvider was asked for" in refused.value.message
    assert (
        "libcuda.so.1, the NVIDIA driver's, is not here. Run on a machine with an NVIDIA GPU"
        in refused.value.message
    )


def test_onnx_session_refuses_when_provider_is_not_compiled_in(
    doubler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="pip install"):
        OnnxSession(doubler, runtime="onnxruntime-cuda")


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (2.5, 2), (0.5, 1), (64.0, 8)])
def test_cpu_limit_follows_the_container_when_it_has_a_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "_cgroup_quota", lambda: quota)
    assert cpu_limit() == expected


def test_onnx_session_refuses_when_another_provider_runs_part_of_it(doubler: Path) -> None:
    """What CUDA leaves to the CPU may be arithmetic on shapes, and nothing else."""
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    _require_assignment(doubler, cpu, {cpu: Counter(Conv=3)})
    _require_assignment(doubler, cuda, {cuda: Counter(Conv=3), cpu: Counter(Shape=2, Gather=1)})
    for provider, assigned in (
        (cuda, {cuda: Counter(Conv=3), cpu: Counter(Shape=2, Softmax=1)}),
        (cuda, {cpu: Counter(Shape=2)}),
        (cuda, {}),
        (
            "TensorrtExecutionProvider",
            {"TensorrtExecutionProvider": Counter(EPContext=1), cpu: Counter(Shape=1)},
        ),
    ):
        with pytest.raises(ProviderError) as refused:
            _require_assignment(doubler, provider, assigned)
        assert refused.value.code == "provider_partial"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "libcudnn.so.9: cannot open shared object file: No such file or directory",
            "libcudnn.so.9, cuDNN's, is not here. Try: pip install",
        ),
        (
            "libcublasLt.so.13: cannot open shared object file",
            "libcublasLt.so.13, the CUDA toolkit's, is not here.",
        ),
        (
            "libnvinfer.so.10: cannot open shared object file",
            "libnvinfer.so.10, TensorRT's, is not here. Try: pip install 'graft-ml[tensorrt]'",
        ),
        ("undefined symbol: abc", "The loader says: undefined symbol: abc"),
    ],
)
def test_missing_libraries_are_named_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, reason: str, said: str
) -> None:
    monkeypatch.setattr(
        libraries, "_load_error", lambda library: None if library == "libcuda.so.1" else reason
    )
    assert said in (libraries.explain_missing("CUDAExecutionProvider") or "")


def test_missing_cudnn_is_named_though_the_provider_loads_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    load = libraries._load_error
    monkeypatch.setattr(libraries, "LOADED_LATER", ("libcudnn_that_is_missing.so.9",))
    monkeypatch.setattr(
        libraries, "_load_error", lambda library: load(library) if library.startswith("libcudnn") else None
    )
    assert (libraries.explain_missing("CUDAExecutionProvider") or "").startswith(
        "libcudnn_that_is_missing.so.9, cuDNN's, is not here."
    )


def test_openvino_session_gives_the_same_answers_from_many_threads(doubler: Path) -> None:
    session = open_session(doubler, "openvino-cpu", "fp32", callers=2)
    assert session.in_use.provider == "CPU f32"
    rows = [np.full((size, 3), float(size), np.float32) for size in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: session.run({"x": x}), rows))
    assert all(np.array_equal(answer, row * 2) for answer, row in zip(answers, rows, strict=True))


@pytest.mark.skipif(has_bf16(), reason="this CPU has bf16")
def test_openvino_session_refuses_bf16_when_the_cpu_has_none(doubler: Path) -> None:
    with pytest.raises(ProviderError) as refused:
        open_session(doubler, "openvino-cpu", "bf16")
    assert refused.value.code == "precision_missing"
    assert "this CPU has no instructions for it" in refused.value.message


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16")
def test_openvino_session_computes_in_bf16_when_the_cpu_has_it(doubler: Path) -> None:
    session = open_session(doubler, "openvino-cpu", "bf16")
    assert session.in_use.provider == "CPU bf16"
    assert np.allclose(session.run({"x": np.ones((1, 3), np.float32)}), 2)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_openvino_session_refuses_precisions_that_it_does_not_name(doubler: Path, precision: str) -> None:
    with pytest.raises(ProviderError, match="fp32 or bf16"):
        open_session(doubler, "openvino-cpu", precision)


def test_openvino_session_says_how_to_install_it(doubler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProviderError, match=r"graft-ml\[openvino\]"):
        open_session(doubler, "openvino-cpu", "fp32")


def test_openvino_session_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ProviderError) as refused:
        open_session(tmp_path / "x.onnx", "openvino-cpu", "fp32")
    assert refused.value.code == "not_loaded"
