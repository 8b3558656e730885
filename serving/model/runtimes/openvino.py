"""OpenVINO on the CPU, in the precision that was asked for and in no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import ProviderError
from serving.model.inputs.item import Feeds
from serving.model.runtimes.session import Precision

# OpenVINO's names of a precision, and what a CPU must say that it can.
COMPUTING = {"Convolution", "FullyConnected", "MatMul"}
HINTS = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16")}


class OpenVinoSession:
    """An OpenVINO model with one output.

    Args:
        path: The ONNX file, the same that ONNX Runtime reads.
        precision: ``fp32``, or ``bf16`` on a CPU that has instructions for it.
        threads: Threads within one ``run``.
        callers: How many ``run`` at once; more of them wait.

    Raises:
        ProviderError: OpenVINO is not installed, does not load the file, or would compute in another precision.
    """

    def __init__(self, path: Path, *, precision: Precision = "fp32", threads: int = 1, callers: int = 1) -> None:
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
                    "ENABLE_CPU_PINNING": False,  # the CPUs are shared with decoding and HTTP
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
        self.in_use: dict[str, Any] = {
            "runtime": f"openvino {openvino.__version__.partition('-')[0]}",
            "provider": f"CPU {hint}",
            "nodes": {"CPU": len(nodes)},
        }

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Run one batch; the first dimension of every input is the batch."""
        request = self._requests.get()
        try:
            return request.infer(feeds)[0]  # type: ignore[no-any-return]
        finally:
            self._requests.put(request)


def _require_computed(path: Path, hint: str, nodes: Sequence[Any]) -> None:
    """Refuse a model whose convolutions and products run in another precision, by what the compiled model says of each."""
    found = [{key: value.get() for key, value in node.get_rt_info().items()} for node in nodes]
    used = {info["runtimePrecision"] for info in found if info.get("layerType") in COMPUTING}
    if used - {hint}:
        raise ProviderError("precision_missing", f"{path}: OpenVINO was asked for {hint}, but computes in {', '.join(sorted(used))}.")


def has_bf16() -> bool:
    """Whether OpenVINO finds instructions for bf16 in this CPU; raises ProviderError where it is not installed."""
    return "BF16" in _import().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _import() -> Any:  # noqa: ANN401 - a module
    try:
        import openvino
    except ImportError as error:
        raise ProviderError("provider_missing", "OpenVINO is not installed. Try: pip install 'graft-ml[openvino]'") from error
    return openvino


def _require_precision(core: Any, precision: Precision) -> str:  # noqa: ANN401 - openvino.Core
    if precision not in HINTS:
        raise ProviderError("precision_missing", f"OpenVINO runs a file in {' or '.join(HINTS)} here, not in {precision}.")
    hint, capability = HINTS[precision]
    if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ProviderError(
            "precision_missing",
            f"{precision} was asked for, but this CPU has no instructions for it (OpenVINO lists no {capability}). "
            "Serve another artifact, or use a CPU with AMX or AVX512_BF16.",
        )
    return hint
