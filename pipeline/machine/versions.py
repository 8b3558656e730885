"""The versions of installed packages, without importing them."""

from __future__ import annotations

from importlib import metadata

PACKAGES = (
    "graft-ml",
    "torch",
    "timm",
    "transformers",
    "tokenizers",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "onnxruntime",
    "bentoml",
    "numpy",
    "pillow",
    "scikit-learn",
)
TRAINING_PACKAGES = ("torch", "timm", "transformers", "tokenizers", "scikit-learn", "pillow")
RUNTIME_PACKAGES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "openvino",
    "tensorrt-cu13",
    "nvidia-ml-py",
    "nvidia-cudnn-cu13",
)


def versions_of(*names: str) -> dict[str, str]:
    """The versions of those of the named packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed_versions() -> dict[str, str]:
    """The versions of what makes and serves a model."""
    return versions_of(*PACKAGES)
