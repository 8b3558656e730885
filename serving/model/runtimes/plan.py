"""A TensorRT plan: what it is bound to, and whether this machine is that."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.model.errors import BundleError, ProviderError
from serving.model.files import FileRef, check_file
from serving.model.runtimes.libraries import explain_missing
from serving.model.runtimes.session import Precision

TENSORRT = "TensorrtExecutionProvider"
# What ONNX Runtime's provider is linked against, in the order in which they need each other.
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
# CUdevice_attribute of <cuda.h>
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256


class Profile(BaseModel):
    """The shapes of one input that a plan runs; it is tuned for ``opt``, and refuses what is outside ``min`` and ``max``.

    Attributes:
        input: The input's name.
        min: Smallest length along each axis.
        opt: The lengths that the kernels were chosen for.
        max: Largest length along each axis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    @model_validator(mode="after")
    def _is_ordered(self) -> Profile:
        same_rank = len(self.min) == len(self.opt) == len(self.max)
        if not same_rank or any(not 0 < low <= best <= high for low, best, high in zip(self.min, self.opt, self.max, strict=True)):
            raise ValueError(f"{self.input}: the shapes must be of one rank, with 0 < min <= opt <= max along each axis")
        return self


class Plan(FileRef):
    """A ``.plan`` file, and the machine that it was built on and is bound to.

    Attributes:
        onnx_sha256: Of the ONNX file that it was built from: other weights are another plan.
        tensorrt_version: All four numbers of it, such as ``10.14.1.48``.
        compute_capability: The GPU's, such as ``9.0``.
        gpu: The GPU's name, as CUDA gives it.
        driver: The version of the NVIDIA driver.
        cuda_version: Of the CUDA that onnxruntime is built for.
        onnxruntime_version: The version that loads it.
        precision: Of weights and arithmetic.
        profiles: Of every input.
        flags: How it was built, for people.
    """

    onnx_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    tensorrt_version: str
    compute_capability: str = Field(pattern=r"^[0-9]+\.[0-9]+$")
    gpu: str
    driver: str
    cuda_version: str
    onnxruntime_version: str
    precision: Precision
    profiles: tuple[Profile, ...] = Field(min_length=1)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to, as this machine has it; the attributes are those of :class:`Plan`."""

    tensorrt_version: str
    compute_capability: str
    gpu: str
    driver: str
    cuda_version: str
    onnxruntime_version: str


def require_match(folder: Path, plan: Plan) -> None:
    """Refuse a plan that was changed or that was built for another machine.

    Args:
        folder: The bundle's folder.
        plan: One of its plans.

    Raises:
        ProviderError: ``plan_changed``: it is not there, or its bytes are others; ``plan_mismatch``, with every reason; or
            ``provider_missing``: there is no GPU or no TensorRT here.
    """
    try:
        check_file(folder, plan)
    except BundleError as error:
        raise ProviderError("plan_changed", error.message) from error
    reasons = mismatches(plan, read_machine())
    if reasons:
        raise ProviderError(
            "plan_mismatch",
            f"{folder / plan.file}: was built for another machine: {'; '.join(reasons)}. Build it again on this machine with "
            "`graft export RUN --force` and `graft verify RUN`, or serve the ONNX file: `--fallback onnx-fp32`.",
        )


def mismatches(plan: Plan, machine: Machine) -> list[str]:
    """Why a plan must not run on a machine, for people; nothing where it may.

    TensorRT reads no plan of another build of itself, and none for another compute capability. The other bounds are ours: the kernels
    were timed and proven on that very GPU, whose name also tells its number of multiprocessors; onnxruntime's reading of plans may
    change with its minor version; libraries change with CUDA's major version; and an older driver was never tried.
    """
    bound = (
        ("TensorRT", plan.tensorrt_version, machine.tensorrt_version, 4),
        ("CUDA", plan.cuda_version, machine.cuda_version, 1),
        ("onnxruntime", plan.onnxruntime_version, machine.onnxruntime_version, 2),
        ("compute capability", plan.compute_capability, machine.compute_capability, 2),
    )
    reasons = [
        f"{what} {built} there, {here} here" for what, built, here, parts in bound if _release(built, parts) != _release(here, parts)
    ]
    if plan.gpu != machine.gpu:
        reasons.append(f"{plan.gpu} there, {machine.gpu} here")
    if _numbers(machine.driver) < _numbers(plan.driver):
        reasons.append(f"driver {plan.driver} there, the older {machine.driver} here")
    return reasons


def _release(version: str, parts: int) -> list[str]:
    return version.split(".")[:parts]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def read_machine() -> Machine:
    """What this machine has, of all that a plan is bound to.

    Raises:
        ProviderError: ``provider_missing``: a library or the GPU is missing; the message names it and the remedy.
    """
    tensorrt_version = _version_of(load_tensorrt())
    gpu, compute_capability = _read_gpu()
    return Machine(
        tensorrt_version=tensorrt_version,
        compute_capability=compute_capability,
        gpu=gpu,
        driver=_read_driver(),
        cuda_version=str(ort.cuda_version),
        onnxruntime_version=str(ort.__version__),
    )


def load_tensorrt() -> ctypes.CDLL:
    """Load the libraries that ONNX Runtime's TensorRT provider needs, and return libnvinfer.

    ``preload_dlls`` loads those of CUDA and cuDNN alone. pip puts TensorRT's where the dynamic loader does not look; once they are
    loaded, the provider finds them by name.

    Raises:
        ProviderError: ``provider_missing``: one of them does not load, or the provider is not in this onnxruntime.
    """
    if TENSORRT not in ort.get_available_providers():
        raise ProviderError("provider_missing", f"{TENSORRT} is not in this onnxruntime. Try: pip install 'graft-ml[gpu]'")
    ort.preload_dlls()
    nvinfer, *_ = [_load(_place_of(library)) for library in TENSORRT_LIBRARIES]
    return nvinfer


def _load(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise ProviderError("provider_missing", explain_missing(TENSORRT) or f"The loader says: {error}.") from error


def _place_of(library: str) -> str:
    """The library's path in pip's package of them; its bare name, for the dynamic loader, where that is not installed."""
    spec = find_spec("tensorrt_libs")
    place = Path(spec.origin).parent / library if spec and spec.origin else None
    return str(place) if place and place.is_file() else library


def _version_of(nvinfer: ctypes.CDLL) -> str:
    version = nvinfer.getInferLibVersion()  # 101401 is 10.14.1
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}.{nvinfer.getInferLibBuildVersion()}"


def _read_gpu() -> tuple[str, str]:
    """Name and compute capability of CUDA's first device, the one that ONNX Runtime runs on.

    CUDA is asked and not NVML, which numbers the devices otherwise and does not heed ``CUDA_VISIBLE_DEVICES``.
    """
    cuda = _load("libcuda.so.1")
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    status = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetName(name, _NAME_BYTES, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    )
    if status:
        raise ProviderError(
            "provider_missing", f"The NVIDIA driver finds no usable GPU (CUDA error {status}). See `nvidia-smi`, and CUDA_VISIBLE_DEVICES."
        )
    return name.value.decode(), f"{major.value}.{minor.value}"


def _read_driver() -> str:
    try:
        import pynvml
    except ImportError as error:
        raise ProviderError("provider_missing", "nvidia-ml-py is not installed. Try: pip install 'graft-ml[tensorrt]'") from error
    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ProviderError(
            "provider_missing",
            f"libnvidia-ml.so.1, the NVIDIA driver's, does not answer ({error}). In a container, NVIDIA_DRIVER_CAPABILITIES must name "
            "both compute and utility.",
        ) from error
