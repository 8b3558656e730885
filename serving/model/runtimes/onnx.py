"""A session of ONNX Runtime, on the requested execution provider and on no other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import ProviderError
from serving.model.inputs.item import Feeds
from serving.model.runtimes.libraries import explain_missing
from serving.model.runtimes.ort import load_onnxruntime
from serving.model.runtimes.plan import TENSORRT, load_tensorrt
from serving.model.runtimes.session import InUse, Precision, Runtime

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
PROVIDERS: dict[Runtime, str] = {
    "onnxruntime-cpu": CPU,
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
# The operators of arithmetic on shapes, which ONNX Runtime leaves on the CPU by design. Any other operator
# there is refused; these are listed in `in_use`, so that a receipt shows them.
ON_SHAPES = frozenset({
    "Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Add",
    "Sub", "Mul", "Div", "Mod", "Range", "Equal", "Less", "Greater", "Not",
    "And", "Or", "Where", "ConstantOfShape", "Reshape", "Expand", "Identity", "Min", "Max",
    "ReduceProd", "Constant",
})  # fmt: skip


class OnnxSession:
    """An ONNX Runtime session on a model with one output. It is thread-safe.

    Args:
        path: The ONNX file.
        runtime: The runtime whose execution provider runs the file. The default is ``onnxruntime-cpu``.
        precision: Precision of the arithmetic, which the file itself determines; ``fp32``, the default, also
            disables TF32 on CUDA.
        threads: Number of threads within one ``run``. The default, 1, gives the best throughput if there are
            as many concurrent callers as CPUs.

    Attributes:
        in_use: What runs the model.

    Raises:
        ProviderError: The provider is not compiled in, does not load, or does not run the whole model.
    """

    def __init__(
        self,
        path: Path,
        *,
        runtime: Runtime = "onnxruntime-cpu",
        precision: Precision = "fp32",
        threads: int = 1,
    ) -> None:
        provider = PROVIDERS[runtime]
        self._session = _create(path, provider, _provider_options(provider, precision), threads)
        self._outputs = [self._session.get_outputs()[0].name]
        assigned = _assignment(self._session)
        _require_assignment(path, provider, assigned)
        self.in_use = InUse(
            runtime=f"onnxruntime {load_onnxruntime().__version__}",
            provider=provider,
            nodes={name: sum(ops.values()) for name, ops in sorted(assigned.items())},
            elsewhere={
                name: dict(sorted(ops.items())) for name, ops in sorted(assigned.items()) if name != provider
            },
        )

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Run the model on one batch; the first dimension of every input and of the output is the batch."""
        return self._session.run(self._outputs, feeds)[0]  # type: ignore[no-any-return]


def _provider_options(provider: str, precision: Precision) -> dict[str, str]:
    return {"use_tf32": "0"} if provider == PROVIDERS["onnxruntime-cuda"] and precision == "fp32" else {}


def _create(
    path: Path, provider: str, provider_options: dict[str, str], threads: int
) -> onnxruntime.InferenceSession:
    ort = load_onnxruntime()
    if provider not in ort.get_available_providers():
        text = f"This build of onnxruntime has no {provider}. Try: pip install 'graft-ml[gpu]'"
        raise ProviderError("provider_missing", text)
    if provider != CPU:
        ort.preload_dlls()
        if provider == TENSORRT:
            load_tensorrt()
        missing = explain_missing(provider)
        if missing:  # onnxruntime would only log this, and use the CPU
            raise ProviderError("provider_failed", f"{provider} was asked for, but cannot be used. {missing}")
    try:
        options = _session_options(provider, threads)
        session = ort.InferenceSession(
            path, options, providers=[provider], provider_options=[provider_options], enable_fallback=0
        )
    # onnxruntime raises one type of error for each of its status codes, without a common base class.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ProviderError("not_loaded", f"{path}: {provider} cannot load it ({reason}).") from error
    # Otherwise `run` would rebuild the session on other providers after an error.
    session.disable_fallback()
    actual = session.get_providers()[0]
    if actual != provider:  # onnxruntime only logs it when a provider fails to load
        raise ProviderError(
            "provider_failed",
            f"{provider} was asked for, but only {actual} could be used. Its libraries load, so the GPU or "
            "its driver does not match them. "
            "Compare `nvidia-smi` with the versions that `graft doctor` prints.",
        )
    return session


def _session_options(provider: str, threads: int) -> onnxruntime.SessionOptions:
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take CPU time from decoding and HTTP.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    if provider == PROVIDERS["onnxruntime-tensorrt"]:  # the graph is one node, the plan
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _assignment(session: onnxruntime.InferenceSession) -> dict[str, Counter[str]]:
    """Count the nodes that each provider runs, by provider and operator.

    A session's list of providers does not show this: it always contains the CPU provider.
    """
    assigned: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        assigned.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return assigned


def _require_assignment(path: Path, provider: str, assigned: dict[str, Counter[str]]) -> None:
    """Raise ProviderError unless the provider runs every node of the model.

    The exception is arithmetic on shapes, which may run on the CPU if the provider is CUDA.

    Args:
        path: The ONNX file, for the message.
        provider: ONNX Runtime's name of the requested provider.
        assigned: The number of nodes by provider and operator.
    """
    allowed = ON_SHAPES if provider == PROVIDERS["onnxruntime-cuda"] else frozenset()
    elsewhere = {
        name: sorted(set(ops) - allowed)
        for name, ops in assigned.items()
        if name != provider and (name != CPU or set(ops) - allowed)
    }
    if elsewhere or provider not in assigned:
        details = [f"{name} runs {', '.join(ops[:6])}" for name, ops in elsewhere.items()]
        text = f"does not run all of the model: {'; '.join(details) or 'it runs no node'}."
        raise ProviderError("provider_partial", f"{path}: {provider} was asked for, but {text}")
