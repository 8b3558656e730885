"""A session of OpenVINO on the CPU, in the requested precision and in no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import ProviderError
from serving.model.inputs.item import Feeds
from serving.model.runtimes.session import InUse, Precision

# The types of layers whose precision is checked, as OpenVINO names them.
COMPUTING = {"Convolution", "FullyConnected", "MatMul"}
# OpenVINO's name of a precision, and the capability that the CPU must report for it.
HINTS = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16")}


class OpenVinoSession:
    """An OpenVINO model with one output. It is thread-safe.

    Args:
        path: The ONNX file, the same that ONNX Runtime reads.
        precision: ``fp32``, the default, or ``bf16`` on a CPU that has instructions for it.
        threads: Number of threads within one ``run``. The default is 1.
        callers: Maximum number of concurrent ``run`` calls; further calls wait. The default is 1.

    Attributes:
        in_use: What runs the model.

    Raises:
        ProviderError: OpenVINO is not installed, cannot load the file, or would compute in another precision.
    """

    def __init__(
        self, path: Path, *, precision: Precision = "fp32", threads: int = 1, callers: int = 1
    ) -> None:
        openvino = _import()
        core = openvino.Core()
        hint = _require_precision(core, precision)
        try:
            model = core.compile_model(
                path,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": hint,
                    "EXECUTION_MODE_HINT": "PERFORMANCE",
                    "NUM_STREAMS": callers,
                    "INFERENCE_NUM_THREADS": threads * callers,
                    "ENABLE_CPU_PINNING": False,  # decoding and HTTP share the CPUs
                },
            )
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[-1][:200]
            raise ProviderError("not_loaded", f"{path}: OpenVINO cannot load it ({reason}).") from error
        nodes = model.get_runtime_model().get_ops()
        _require_computed(path, hint, nodes)
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(callers):
            self._requests.put(model.create_infer_request())
        self.in_use = InUse(
            runtime=f"openvino {openvino.__version__.partition('-')[0]}",
            provider=f"CPU {hint}",
            nodes={"CPU": len(nodes)},
        )

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Run the model on one batch; the first dimension of every input and of the output is the batch."""
        request = self._requests.get()
        try:
            return request.infer(feeds)[0]  # type: ignore[no-any-return]
        finally:
            self._requests.put(request)


def _require_computed(path: Path, hint: str, nodes: Sequence[Any]) -> None:
    """Raise ProviderError if the compiled model has a convolution or a matrix product in another precision.

    Args:
        path: The ONNX file, for the message.
        hint: OpenVINO's name of the requested precision.
        nodes: The nodes of the compiled model.
    """
    infos = [{key: value.get() for key, value in node.get_rt_info().items()} for node in nodes]
    used = {info["runtimePrecision"] for info in infos if info.get("layerType") in COMPUTING}
    if used - {hint}:
        text = f"{path}: OpenVINO was asked for {hint}, but computes in {', '.join(sorted(used))}."
        raise ProviderError("precision_missing", text)


def has_bf16() -> bool:
    """Return whether OpenVINO finds instructions for bf16 in this CPU.

    Raises:
        ProviderError: ``provider_missing`` if OpenVINO is not installed.
    """
    return "BF16" in _import().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _import() -> Any:  # noqa: ANN401 - a module
    try:
        with _unreported():
            import openvino
    except ImportError as error:
        text = "OpenVINO is not installed. Try: pip install 'graft-ml[openvino]'"
        raise ProviderError("provider_missing", text) from error
    return openvino


@contextmanager
def _unreported() -> Iterator[None]:
    """Hide ``openvino_telemetry`` while OpenVINO is imported.

    With it, each import is reported to Google Analytics, and an identifier is written under HOME; there is no
    variable against that. OpenVINO is prepared for an installation without it.
    """
    name = "openvino_telemetry"
    if name in sys.modules:  # the process uses it for purposes of its own
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # an import of it then fails
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def _require_precision(core: Any, precision: Precision) -> str:  # noqa: ANN401 - openvino.Core
    if precision not in HINTS:
        text = f"OpenVINO artifacts run in {' or '.join(HINTS)}, not in {precision}."
        raise ProviderError("precision_missing", text)
    hint, capability = HINTS[precision]
    if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ProviderError(
            "precision_missing",
            f"{precision} was asked for, but this CPU has no instructions for it (OpenVINO lists no "
            f"{capability}). Serve another artifact, or use a CPU with AMX or AVX512_BF16.",
        )
    return hint
