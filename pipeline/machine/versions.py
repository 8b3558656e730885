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
TRAINING_PACKAGES = ("torch", "scikit-learn")
"""What every training depends on, beside the packages of the kind of input."""
MODEL_PACKAGES = (
    "graft-ml",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "scikit-learn",
)
"""What every model is made with, beside the packages of the kind of input."""
RUNTIME_PACKAGES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "openvino",
    "tensorrt-cu13",
    "nvidia-ml-py",
    "nvidia-cudnn-cu13",
)


def versions_of(*names: str) -> dict[str, str]:
    """Return the versions of those of the named packages that are installed, by their names."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def installed_versions() -> dict[str, str]:
    """Return the versions of the installed packages that make and serve a model, by their names."""
    return versions_of(*PACKAGES)
