"""Bentos for one kind of machine each, with the packages that it needs and no others."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento.building import build_bento
from pipeline.package.bento.content import Content
from pipeline.package.bento.store import open_stores, store_model
from pipeline.package.packaged import Packaged
from pipeline.recipe.sections import Recipe
from serving.model.bundle import Bundle, open_bundle
from serving.model.runtimes.session import Runtime

RUNTIMES: dict[str, frozenset[Runtime]] = {
    "cpu": frozenset({"onnxruntime-cpu", "openvino-cpu"}),
    "oci": frozenset({"onnxruntime-cpu"}),  # whose packages have no OpenVINO
    "cuda": frozenset({"onnxruntime-cuda"}),
    "tensorrt": frozenset({"onnxruntime-tensorrt"}),
}
FORMATS = {"cpu": "onnx-fp32", "oci": "onnx-fp32", "cuda": "cuda-fp16", "tensorrt": "tensorrt-fp16"}


def package_cpu(_: Recipe, run: RunFolder, __: Path) -> Packaged:
    """Build a Bento for machines without a GPU."""
    return _package(run, "cpu")


def package_cuda(_: Recipe, run: RunFolder, __: Path) -> Packaged:
    """Build a Bento for machines with an NVIDIA GPU, whose artifact ONNX Runtime runs by CUDA."""
    return _package(run, "cuda")


def package_tensorrt(_: Recipe, run: RunFolder, __: Path) -> Packaged:
    """Build a Bento for the GPU that the run's TensorRT plan was built for."""
    return _package(run, "tensorrt")


def _package(run: RunFolder, target: str) -> Packaged:
    content = choose_content(open_bundle(run.bundle), target)
    if not content.has_service():
        kind = content.bundle.manifest.input.modality
        raise GraftError(
            f"{run.root}: BentoML has no service for {kind} input. It is served by: graft serve {run.root}"
        )
    with open_stores():
        tag = build_bento(content, store_model(content.bundle, content.model_tag()))
    return Packaged(target, tag, (f"bentoml serve {tag}", f"bentoml containerize {tag}"))


def choose_content(bundle: Bundle, target: str) -> Content:
    """Choose what a Bento for a kind of machine holds.

    It serves the bundle's own choice where such a machine runs it, or else the first artifact that it runs.

    Args:
        bundle: The bundle.
        target: ``cpu``, ``cuda``, ``tensorrt``, or ``oci`` for what the image of a container runs.

    Raises:
        GraftError: The bundle publishes no artifact that such a machine runs.
    """
    artifacts = tuple(each for each in bundle.manifest.artifacts if each.runtime in RUNTIMES[target])
    if not artifacts:
        published = ", ".join(artifact.name for artifact in bundle.manifest.artifacts)
        raise GraftError(
            f"{bundle.folder}: publishes no artifact for {target}, only {published}. Add {FORMATS[target]} "
            "to the recipe's export.formats, on a machine that has what it needs, and call: graft run RUN"
        )
    default = bundle.artifact()
    return Content(bundle, artifacts, served=default if default in artifacts else artifacts[0])
