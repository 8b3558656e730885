"""The session that an artifact asks for."""

from __future__ import annotations

from pathlib import Path

from serving.model.runtimes.onnx import OnnxSession
from serving.model.runtimes.openvino import OpenVinoSession
from serving.model.runtimes.session import Precision, Runtime, Session


def open_session(path: Path, runtime: Runtime, precision: Precision, *, threads: int = 1, callers: int = 1) -> Session:
    """Load a model file.

    Args:
        path: The file.
        runtime: What runs it, and on which device.
        precision: Of the arithmetic.
        threads: Threads within one run.
        callers: How many runs at once it is prepared for.

    Raises:
        ProviderError: It cannot be run by exactly that; nothing else is tried.
    """
    if runtime == "openvino-cpu":
        return OpenVinoSession(path, precision=precision, threads=threads, callers=callers)
    return OnnxSession(path, runtime=runtime, precision=precision, threads=threads)
