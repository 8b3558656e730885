"""What Triton has to be told of an artifact: its tensors, its backend, its batches and its lineage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GraftError
from serving.model.batches import MOST_INPUTS
from serving.model.bundle import Bundle
from serving.model.files import FileRef
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import Artifact
from serving.model.receipt import read_receipt
from serving.model.runtimes.session import Runtime

# Types of ONNX by their numbers, as Triton's configuration names them.
TYPES = {
    1: "TYPE_FP32", 2: "TYPE_UINT8", 3: "TYPE_INT8", 6: "TYPE_INT32", 7: "TYPE_INT64", 9: "TYPE_BOOL",
    10: "TYPE_FP16", 11: "TYPE_FP64",
}  # fmt: skip
BACKENDS: dict[Runtime, str] = {
    "onnxruntime-cpu": "onnxruntime",
    "onnxruntime-cuda": "onnxruntime",
    "onnxruntime-tensorrt": "tensorrt",
}
FILENAMES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
# More gain little: each has the whole model in memory, and Triton itself needs CPUs for the decoder.
MOST_INSTANCES = 16
LIMIT = 1e-3  # of a probability, where the receipt has none of its own


@dataclass(frozen=True)
class Tensor:
    """An input or an output, without the dimension of the batch.

    Attributes:
        name: Its name.
        data_type: Its type as Triton names it, such as ``TYPE_UINT8``.
        dims: Its lengths; -1 for one that varies.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Names:
    """The names of the three models, which are folders of the repository.

    Attributes:
        ensemble: What clients call: bytes in, probabilities out.
        decoder: What decodes.
        model: The network.
    """

    ensemble: str
    decoder: str
    model: str

    @classmethod
    def of(cls, name: str) -> Names:
        """Return the names for a model of that name."""
        return cls(name, f"{name}-decoder", f"{name}-network")


@dataclass(frozen=True)
class Served:
    """An artifact as Triton serves it.

    Attributes:
        artifact: The artifact.
        backend: Name of Triton's backend.
        file: The file that the backend reads: the ONNX file, or the plan itself.
        inputs: The network's inputs.
        outputs: Its one output.
        max_batch: Number of inputs in one run at most.
        warm_up: The inputs of one blank sample, by their names, with a batch of 1 as first dimension.
    """

    artifact: Artifact
    backend: str
    file: FileRef
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int
    warm_up: Mapping[str, NDArray[Any]]

    @property
    def on_gpu(self) -> bool:
        """Whether the artifact runs on a GPU."""
        return self.artifact.runtime != "onnxruntime-cpu"

    @property
    def warm_up_tensors(self) -> tuple[Tensor, ...]:
        """The inputs with the lengths of the blank sample."""
        return tuple(
            Tensor(tensor.name, tensor.data_type, self.warm_up[tensor.name].shape[1:])
            for tensor in self.inputs
        )


def describe(bundle: Bundle, name: str | None) -> Served:
    """Describe an artifact of a bundle for Triton.

    Args:
        bundle: The bundle.
        name: Name of a published artifact; None for the bundle's default.

    Raises:
        BundleError: No such artifact is published.
        GraftError: Triton would run it otherwise than it is proven.
    """
    artifact = bundle.artifact(name)
    backend = BACKENDS.get(artifact.runtime)
    if backend is None:
        others = [each.name for each in bundle.manifest.artifacts if each.runtime in BACKENDS]
        raise GraftError(
            f"{artifact.name} is proven with {artifact.runtime}, which Triton's backends for ONNX are not. "
            f"Name another in the recipe, under deploy.artifact: {', '.join(others) or 'none is published'}."
        )
    inputs, outputs = _read_tensors(bundle.path_of(artifact))
    preprocessor = open_preprocessor(bundle.manifest.input, bundle.folder)
    return Served(
        artifact=artifact,
        backend=backend,
        file=artifact.plan or FileRef(file=artifact.file, sha256=artifact.sha256),
        inputs=inputs,
        outputs=outputs,
        max_batch=_most_inputs(artifact),
        warm_up=preprocessor.collate([preprocessor.blank()]),
    )


def _most_inputs(artifact: Artifact) -> int:
    """Return the number of inputs in one run: no receipt is about larger batches, nor is a plan built for."""
    most = artifact.max_batch_size or MOST_INPUTS
    return min([most, *(profile.max[0] for profile in artifact.plan.profiles)]) if artifact.plan else most


def _read_tensors(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and the outputs of an ONNX file; one that wraps a plan has those of the plan."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return tuple(map(_to_tensor, graph.input)), tuple(map(_to_tensor, graph.output))


def _to_tensor(value: Any) -> Tensor:  # noqa: ANN401 - onnx has no types
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return Tensor(value.name, TYPES[tensor.elem_type], dims[1:])


def list_lineage(bundle: Bundle, artifact: Artifact) -> dict[str, str]:
    """List what a server can tell of where a model comes from, which Triton shows in its configuration."""
    manifest, lineage = bundle.manifest, bundle.manifest.lineage
    return {
        "bundle_version": manifest.version,
        "artifact": artifact.name,
        "artifact_sha256": artifact.sha256,
        **({"plan_sha256": artifact.plan.sha256} if artifact.plan else {}),
        **({"receipt_sha256": artifact.receipt.sha256} if artifact.receipt else {}),
        "recipe_sha256": lineage.recipe_sha256,
        "data_sha256": lineage.data_sha256,
        "checkpoint_sha256": lineage.checkpoint_sha256,
    }


def read_limit(bundle: Bundle, artifact: Artifact) -> float:
    """Return the largest difference of a probability that the artifact's receipt allows."""
    if artifact.receipt is None:  # an opened bundle has none without
        return LIMIT
    limits = read_receipt(bundle.path_of(artifact.receipt)).limits
    return limits.get("max_abs_probabilities") or LIMIT


def count_instances(cpu: str | None) -> int:
    """Return the number of instances.

    It is the number of CPUs of one copy, such as ``1500m``, rounded up; :data:`MOST_INSTANCES` at most.
    """
    if cpu is None:
        return 1
    cpus = math.ceil(float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu))
    return min(cpus, MOST_INSTANCES)


def as_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as Triton reads it from a file: row by row, least significant byte first."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
