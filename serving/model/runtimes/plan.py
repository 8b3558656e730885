"""TensorRT plans: the machine that a plan is bound to, and the check that this machine matches it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.model.errors import BundleError, ProviderError
from serving.model.files import FileRef, check_file
from serving.model.runtimes.libraries import explain_missing
from serving.model.runtimes.ort import load_onnxruntime
from serving.model.runtimes.session import Precision

TENSORRT = "TensorrtExecutionProvider"
# The libraries that ONNX Runtime's TensorRT provider is linked against; the later ones need the earlier ones.
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
# Values of the enumeration CUdevice_attribute in <cuda.h>.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256


class Profile(BaseModel):
    """The range of shapes that a plan accepts for one input, with 0 < min <= opt <= max along each axis.

    Attributes:
        input: Name of the input.
        min: Smallest length accepted along each axis, the batch included.
        opt: Lengths for which TensorRT chose the kernels.
        max: Largest length accepted along each axis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    @model_validator(mode="after")
    def _is_ordered(self) -> Profile:
        same_rank = len(self.min) == len(self.opt) == len(self.max)
        axes = zip(self.min, self.opt, self.max, strict=True)
        if not same_rank or any(not 0 < low <= best <= high for low, best, high in axes):
            text = "the shapes must be of one rank, with 0 < min <= opt <= max along each axis"
            raise ValueError(f"{self.input}: {text}")
        return self


class Plan(FileRef):
    """A ``.plan`` file, and the machine on which it was built and to which it is bound.

    Attributes:
        onnx_sha256: SHA-256, in hexadecimal, of the ONNX file from which the plan was built, since other
            weights need another plan.
        tensorrt_version: Version of TensorRT, with all four numbers, such as ``10.14.1.48``.
        compute_capability: Compute capability of the GPU, such as ``9.0``.
        gpu: Name of the GPU, as reported by CUDA.
        driver: Version of the NVIDIA driver.
        cuda_version: Version of CUDA for which onnxruntime is built.
        onnxruntime_version: Version of the onnxruntime that loads the plan.
        precision: Precision of the weights and of the arithmetic.
        profiles: The accepted shapes of every input.
        flags: The build flags, for people to read. The default is empty.
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
    """The properties of this machine that a plan is bound to; the attributes are those of :class:`Plan`."""

    tensorrt_version: str
    compute_capability: str
    gpu: str
    driver: str
    cuda_version: str
    onnxruntime_version: str


def require_match(folder: Path, plan: Plan) -> None:
    """Check that a plan is unchanged and that it was built for this machine.

    Args:
        folder: The bundle's folder.
        plan: One of the bundle's plans.

    Raises:
        ProviderError: ``plan_changed`` if the file is missing or its bytes changed; ``plan_mismatch``, with
            every reason, if it was built for another machine; ``provider_missing`` if this machine has no GPU
            or no TensorRT.
    """
    try:
        check_file(folder, plan)
    except BundleError as error:
        raise ProviderError("plan_changed", error.message) from error
    reasons = mismatches(plan, read_machine())
    if reasons:
        raise ProviderError(
            "plan_mismatch",
            f"{folder / plan.file}: was built for another machine: {'; '.join(reasons)}. Build it again on "
            "this machine with `graft export RUN --force` and `graft verify RUN`, or serve the ONNX file: "
            "`--fallback onnx-fp32`.",
        )


def mismatches(plan: Plan, machine: Machine) -> list[str]:
    """List the reasons why a plan must not run on a machine.

    TensorRT itself refuses a plan of another TensorRT build or for another compute capability. The other
    limits are Graft's own: the kernels were timed and proven on that very GPU, whose name also determines its
    number of multiprocessors; the way onnxruntime reads plans may change with its minor version; libraries
    change with the major version of CUDA; and an older driver was never tried.

    Args:
        plan: The plan.
        machine: The machine that would run it.

    Returns:
        One text for people per difference, with the plan's value as "there" and the machine's as "here";
        empty if the plan may run.
    """
    versions = (
        ("TensorRT", plan.tensorrt_version, machine.tensorrt_version, 4),
        ("CUDA", plan.cuda_version, machine.cuda_version, 1),
        ("onnxruntime", plan.onnxruntime_version, machine.onnxruntime_version, 2),
        ("compute capability", plan.compute_capability, machine.compute_capability, 2),
    )
    reasons = [
        f"{what} {built} there, {here} here"
        for what, built, here, parts in versions
        if _release(built, parts) != _release(here, parts)
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
    """Read the properties of this machine that a plan is bound to.

    Raises:
        ProviderError: ``provider_missing`` if a library or the GPU is missing; the message names it and the
            remedy.
    """
    tensorrt_version = _version_of(load_tensorrt())
    gpu, compute_capability = _read_gpu()
    ort = load_onnxruntime()
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

    onnxruntime's ``preload_dlls`` loads only those of CUDA and cuDNN. pip installs TensorRT's where the
    dynamic loader does not search; once they are loaded, the provider finds them by name.

    Raises:
        ProviderError: ``provider_missing`` if a library does not load, or if this build of onnxruntime has no
            TensorRT provider.
    """
    ort = load_onnxruntime()
    if TENSORRT not in ort.get_available_providers():
        text = f"This build of onnxruntime has no {TENSORRT}. Try: pip install 'graft-ml[gpu]'"
        raise ProviderError("provider_missing", text)
    ort.preload_dlls()
    nvinfer, *_ = [_load(_place_of(library)) for library in TENSORRT_LIBRARIES]
    return nvinfer


def _load(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        text = explain_missing(TENSORRT) or f"The loader says: {error}."
        raise ProviderError("provider_missing", text) from error


def _place_of(library: str) -> str:
    """Return the path of a library in the package ``tensorrt_libs``, which pip installs.

    If it is not there, the bare name is returned, for which the dynamic loader searches.
    """
    spec = find_spec("tensorrt_libs")
    path = Path(spec.origin).parent / library if spec and spec.origin else None
    return str(path) if path and path.is_file() else library


def _version_of(nvinfer: ctypes.CDLL) -> str:
    version = nvinfer.getInferLibVersion()  # 101401 is 10.14.1
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}.{nvinfer.getInferLibBuildVersion()}"


def _read_gpu() -> tuple[str, str]:
    """Return the name and compute capability of CUDA's first device, on which ONNX Runtime runs.

    They are read from CUDA because NVML numbers the devices differently and ignores ``CUDA_VISIBLE_DEVICES``.
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
        text = f"The NVIDIA driver finds no usable GPU (CUDA error {status})."
        raise ProviderError("provider_missing", f"{text} Check `nvidia-smi` and CUDA_VISIBLE_DEVICES.")
    return name.value.decode(), f"{major.value}.{minor.value}"


def _read_driver() -> str:
    try:
        import pynvml
    except ImportError as error:
        text = "nvidia-ml-py is not installed. Try: pip install 'graft-ml[tensorrt]'"
        raise ProviderError("provider_missing", text) from error
    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ProviderError(
            "provider_missing",
            f"libnvidia-ml.so.1, a library of the NVIDIA driver, cannot be used ({error}). In a container, "
            "NVIDIA_DRIVER_CAPABILITIES must name both compute and utility.",
        ) from error
