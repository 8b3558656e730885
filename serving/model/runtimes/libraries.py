"""The diagnosis of an accelerator's provider that does not load: the missing library and the remedy."""

from __future__ import annotations

import ctypes
from pathlib import Path

from serving.model.runtimes.ort import load_onnxruntime

PROVIDER_LIBRARIES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
# The provider loads these itself, when the first convolution needs them.
LOADED_LATER = ("libcudnn.so.9",)
# The prefix of a library's name, the owner of the library, and the remedy if it is missing.
REMEDIES = (
    (
        "libcuda.so",
        "the NVIDIA driver's",
        "Run on a machine with an NVIDIA GPU and driver; in a container, start it with --gpus all.",
    ),
    ("libnvinfer", "TensorRT's", "Try: pip install 'graft-ml[tensorrt]'"),
    ("libnvonnxparser", "TensorRT's", "Try: pip install 'graft-ml[tensorrt]'"),
    ("libcudnn", "cuDNN's", "Try: pip install 'graft-ml[gpu]'"),
    ("libcu", "the CUDA toolkit's", "Try: pip install 'graft-ml[gpu]'"),
)


def explain_missing(provider: str) -> str | None:
    """Find the first library that keeps a provider from loading.

    Args:
        provider: ONNX Runtime's name of the provider, one of ``PROVIDER_LIBRARIES``.

    Returns:
        A message for people with the library and the remedy, or None if every library loads.
    """
    package = Path(str(load_onnxruntime().__file__)).parent
    provider_library = str(package / "capi" / PROVIDER_LIBRARIES[provider])
    for library in ("libcuda.so.1", provider_library, *LOADED_LATER):
        reason = _load_error(library)
        if reason:
            return _explain(reason)
    return None


def _load_error(library: str) -> str | None:
    """Return the dynamic loader's error, which begins with the missing library's name; None if it loads."""
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
