"""Run an ONNX file, on the provider that was asked for and on no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving.errors import ProviderError

Device = Literal["cpu", "cuda"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Session(Protocol):
    """A loaded model. ``run`` may be called from several threads at once."""

    provider: str

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Map a batch, by the names of the model's inputs, to outputs of the same first dimension."""
        ...


def cpu_limit() -> int:
    """How many CPUs this process may use: its affinity, further limited by a container's CPU quota (cgroup v2 or v1)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota))) if quota else count


def _cgroup_quota() -> float | None:
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    except (OSError, ValueError):
        return None


class OnnxSession:
    """An ONNX Runtime session with one output.

    Args:
        path: The ONNX file.
        device: ``cpu`` or ``cuda``.
        threads: Threads within one ``run``. One, with as many callers as CPUs, gives the best throughput.

    Raises:
        ProviderError: The requested provider is not compiled in, does not load, or does not run the model.
    """

    def __init__(self, path: Path, *, device: Device = "cpu", threads: int = 1) -> None:
        self._session = _create(path, device, threads)
        self.provider = self._session.get_providers()[0]
        self._outputs = [self._session.get_outputs()[0].name]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run one batch; the first dimension of every input is the batch."""
        return self._session.run(self._outputs, dict(feeds))[0]  # type: ignore[no-any-return]


def _create(path: Path, device: Device, threads: int) -> ort.InferenceSession:
    provider = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise ProviderError("provider_missing", f"{provider} is not in this onnxruntime. For CUDA: pip install 'graft-ml[gpu]'.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning pool burns the CPU that its neighbours, decoding and HTTP, are waiting for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if device == "cuda":
        ort.preload_dlls()
    try:
        session = ort.InferenceSession(path, options, providers=[provider], enable_fallback=0)
    except Exception as error:  # onnxruntime has a type of error for each of its status codes, and no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ProviderError("not_loaded", f"{path}: {provider} cannot load it ({reason}).") from error
    # Without this, `run` rebuilds the session on other providers after an error.
    session.disable_fallback()
    if session.get_providers()[0] != provider:  # onnxruntime only logs it when a provider fails to load
        raise ProviderError(
            "provider_failed",
            f"{provider} was asked for, but {session.get_providers()[0]} is in use: its libraries did not load. `graft doctor` says more.",
        )
    return session
