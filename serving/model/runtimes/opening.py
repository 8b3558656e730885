"""The choice of the session class for a runtime."""

from __future__ import annotations

from pathlib import Path

from serving.model.runtimes.onnx import OnnxSession
from serving.model.runtimes.openvino import OpenVinoSession
from serving.model.runtimes.session import Precision, Runtime, Session


def open_session(
    path: Path, runtime: Runtime, precision: Precision, *, threads: int = 1, callers: int = 1
) -> Session:
    """Load a model file.

    Args:
        path: The ONNX file.
        runtime: Runtime and device that run the file.
        precision: Precision of the arithmetic.
        threads: Number of threads within one run. The default is 1.
        callers: Maximum number of concurrent runs in OpenVINO; ONNX Runtime has no limit. The default is 1.

    Raises:
        ProviderError: The runtime cannot run the file on that device in that precision; no other is tried.
    """
    if runtime == "openvino-cpu":
        return OpenVinoSession(path, precision=precision, threads=threads, callers=callers)
    return OnnxSession(path, runtime=runtime, precision=precision, threads=threads)
