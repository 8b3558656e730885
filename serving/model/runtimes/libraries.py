"""Why an accelerator's provider does not load: the library that is missing, and what would bring it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import onnxruntime as ort

PROVIDER_LIBRARIES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
LOADED_LATER = ("libcudnn.so.9",)  # by the provider itself, when the first convolution asks for it
# By the start of a library's name: what it belongs to, and the remedy.
REMEDIES = (
    ("libcuda.so", "the NVIDIA driver's", "Run on a machine with an NVIDIA GPU and driver; in a container, start it with --gpus all."),
    ("libnvinfer", "TensorRT's", "Try: pip install 'graft-ml[tensorrt]'"),
    ("libnvonnxparser", "TensorRT's", "Try: pip install 'graft-ml[tensorrt]'"),
    ("libcudnn", "cuDNN's", "Try: pip install 'graft-ml[gpu]'"),
    ("libcu", "the CUDA toolkit's", "Try: pip install 'graft-ml[gpu]'"),
)


def explain_missing(provider: str) -> str | None:
    """Name the first library that keeps a provider from loading, and the remedy; None where all are there."""
    provider_library = str(Path(ort.__file__).parent / "capi" / PROVIDER_LIBRARIES[provider])
    for library in ("libcuda.so.1", provider_library, *LOADED_LATER):
        reason = _load_error(library)
        if reason:
            return _explain(reason)
    return None


def _load_error(library: str) -> str | None:
    """The dynamic loader's message, which begins with the name of what is missing; None when it loads."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return None


def _explain(reason: str) -> str:
    missing = Path(reason.partition(":")[0]).name
    for prefix, owner, remedy in REMEDIES:
        if missing.startswith(prefix):
            return f"{missing}, {owner}, is not here. {remedy}"
    return f"The loader says: {reason[:200]}. `graft doctor` says more."
