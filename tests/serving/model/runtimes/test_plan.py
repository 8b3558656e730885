from __future__ import annotations

import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.model.errors import ProviderError
from serving.model.files import hash_file
from serving.model.runtimes import plan as module
from serving.model.runtimes.plan import Machine, Plan, Profile, mismatches, read_machine, require_match

HERE = Machine(
    tensorrt_version="10.14.1.48",
    compute_capability="9.0",
    gpu="NVIDIA H100 80GB HBM3",
    driver="580.95.05",
    cuda_version="13.0",
    onnxruntime_version="1.31.1",
)
IMAGE = Profile(input="image", min=(1, 8, 8, 3), opt=(1, 8, 8, 3), max=(32, 8, 8, 3))
# Each field of the machine, changed so that the plan must be refused, and what the reason says.
REFUSED = [
    ("tensorrt_version", "10.14.1.49", "TensorRT 10.14.1.48 there, 10.14.1.49 here"),
    ("tensorrt_version", "10.13.0.35", "TensorRT"),
    ("compute_capability", "8.9", "compute capability 9.0 there, 8.9 here"),
    ("compute_capability", "9.1", "compute capability"),
    ("gpu", "NVIDIA H200", "NVIDIA H100 80GB HBM3 there, NVIDIA H200 here"),
    ("driver", "580.65.06", "the older 580.65.06 here"),
    ("driver", "99.1", "older"),
    ("cuda_version", "12.8", "CUDA 13.0 there, 12.8 here"),
    ("onnxruntime_version", "1.32.0", "onnxruntime 1.31.1 there, 1.32.0 here"),
]


def describe(**changes: object) -> Plan:
    values = {
        "file": "model.plan",
        "sha256": "1" * 64,
        "onnx_sha256": "0" * 64,
        "precision": "fp16",
        "profiles": (IMAGE,),
    }
    return Plan(**asdict(HERE) | values | changes)


def make_plan(folder: Path, **changes: object) -> Plan:
    path = folder / "model.plan"
    path.write_bytes(b"kernels")
    return describe(sha256=hash_file(path), **changes)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_machine", lambda: HERE)


def test_plan_survives_a_manifest() -> None:
    plan = describe()
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_plan_and_machine_name_the_same_facts() -> None:
    assert {field.name for field in fields(Machine)} <= set(Plan.model_fields)
    assert {name for name, _, _ in REFUSED} == {field.name for field in fields(Machine)}


@pytest.mark.parametrize(
    "changes",
    [{"file": "../other.plan"}, {"onnx_sha256": "x"}, {"profiles": ()}, {"compute_capability": "sm_90"}],
)
def test_plan_is_refused_when_it_says_nonsense(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        describe(**changes)


@pytest.mark.parametrize(
    "shapes",
    [((1, 8), (1, 8), (4,)), ((2, 8), (1, 8), (4, 8)), ((1, 8), (5, 8), (4, 8)), ((0, 8), (1, 8), (4, 8))],
)
def test_profile_is_refused_when_its_shapes_are_out_of_order(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValidationError, match="x: the shapes must be"):
        Profile(input="x", min=shapes[0], opt=shapes[1], max=shapes[2])


def test_mismatches_finds_none_on_the_machine_that_built_it() -> None:
    assert mismatches(describe(), HERE) == []


@pytest.mark.parametrize(("field", "value", "reason"), REFUSED)
def test_mismatches_names_one_reason_when_one_fact_differs(field: str, value: str, reason: str) -> None:
    (found,) = mismatches(describe(), replace(HERE, **{field: value}))
    assert reason in found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("driver", "580.105.08"),
        ("driver", "600.0"),
        ("cuda_version", "13.1"),
        ("onnxruntime_version", "1.31.2"),
    ],
)
def test_mismatches_allows_what_a_plan_is_not_bound_to(field: str, value: str) -> None:
    assert mismatches(describe(), replace(HERE, **{field: value})) == []


@given(st.sets(st.sampled_from([name for name, _, _ in REFUSED])))
def test_mismatches_names_every_fact_that_differs(chosen: set[str]) -> None:
    other = {name: value for name, value, _ in REFUSED if name in chosen}
    assert len(mismatches(describe(), replace(HERE, **other))) == len(chosen)


@pytest.mark.usefixtures("machine")
def test_require_match_accepts_a_plan_of_this_machine(tmp_path: Path) -> None:
    require_match(tmp_path, make_plan(tmp_path))


@pytest.mark.usefixtures("machine")
def test_require_match_says_all_reasons_and_the_remedy_when_the_machine_is_another(tmp_path: Path) -> None:
    with pytest.raises(ProviderError) as refused:
        require_match(tmp_path, make_plan(tmp_path, gpu="NVIDIA L4", compute_capability="8.9"))
    assert refused.value.code == "plan_mismatch"
    for part in ("model.plan", "NVIDIA L4", "8.9 there", "graft export RUN --force", "--fallback onnx-fp32"):
        assert part in refused.value.message


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("content", "words"), [(b"kernelz", "its bytes changed"), (None, "not there")])
def test_require_match_refuses_a_changed_plan(tmp_path: Path, content: bytes | None, words: str) -> None:
    plan = make_plan(tmp_path)
    (tmp_path / plan.file).unlink() if content is None else (tmp_path / plan.file).write_bytes(content)
    with pytest.raises(ProviderError, match=words) as refused:
        require_match(tmp_path, plan)
    assert refused.value.code == "plan_changed"


def fake_libraries(*, status: int = 0) -> SimpleNamespace:
    """The functions of libcuda and libnvinfer that are called, with C's ways of giving back."""

    def give(value: object, attribute: int, _: object) -> int:
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def name(buffer: object, _: int, __: object) -> int:
        buffer.value = HERE.gpu.encode()
        return 0

    return SimpleNamespace(
        cuInit=lambda _: status,
        cuDeviceGet=lambda *_: 0,
        cuDeviceGetName=name,
        cuDeviceGetAttribute=give,
        getInferLibVersion=lambda: 101401,
        getInferLibBuildVersion=lambda: 48,
    )


class NVMLError(Exception):
    pass


def fake_nvml(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    functions = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: HERE.driver,
    }
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NVMLError, **functions | changes))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose libraries are there, of the versions of `HERE`."""
    monkeypatch.setattr(module, "_load", lambda _: fake_libraries())
    monkeypatch.setattr(ort, "get_available_providers", lambda: [module.TENSORRT])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "cuda_version", HERE.cuda_version)
    monkeypatch.setattr(ort, "__version__", HERE.onnxruntime_version)
    fake_nvml(monkeypatch)


@pytest.mark.usefixtures("gpu")
def test_read_machine_reads_every_fact() -> None:
    assert read_machine() == HERE


@pytest.mark.usefixtures("gpu")
def test_read_machine_refuses_when_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_load", lambda _: fake_libraries(status=100))
    with pytest.raises(ProviderError, match=r"no usable GPU.*100"):
        read_machine()


@pytest.mark.usefixtures("gpu")
def test_read_machine_refuses_when_nvml_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NVMLError("Library Not Found")

    fake_nvml(monkeypatch, nvmlInit=fail)
    with pytest.raises(ProviderError, match=r"libnvidia-ml\.so\.1"):
        read_machine()


@pytest.mark.usefixtures("gpu")
def test_read_machine_refuses_when_nvml_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ProviderError, match="pip install 'graft-ml"):
        read_machine()


@pytest.mark.usefixtures("gpu")
def test_read_machine_refuses_when_onnxruntime_has_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="pip install"):
        read_machine()


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine may have CUDA")
def test_read_machine_names_the_missing_library_when_there_is_no_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [module.TENSORRT])
    with pytest.raises(ProviderError, match=r"libcuda\.so\.1"):
        read_machine()


def test_place_of_prefers_pips_package_when_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('not to be imported')")
    (package / "libnvinfer.so.10").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert module._place_of("libnvinfer.so.10") == str(package / "libnvinfer.so.10")
    assert module._place_of("libother.so") == "libother.so"
