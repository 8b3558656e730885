"""The settings of training: what this machine has, and the fastest sound way to train on it."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.errors import GraftError
from pipeline.machine.launch import launched, thread_limit

log = logging.getLogger("graft")
DeviceChoice = Literal["auto", "cpu", "cuda"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

# <malloc.h>: parameters of mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 512 * 1024 * 1024
_NEVER_TRIM = 2**31 - 1


@dataclass(frozen=True)
class Settings:
    """How to train here.

    Attributes:
        device: The device: ``cpu`` or ``cuda``.
        precision: The precision: ``fp32``, or ``bf16`` under autocast.
        threads: Number of threads that torch uses.
        why: Why the precision was chosen, for the log and the run's record.
        processes: Number of processes that train together; 1 by default.
    """

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: int
    why: str
    processes: int = 1


def choose_settings(device: DeviceChoice = "auto", precision: PrecisionChoice = "auto") -> Settings:
    """Choose the settings by a rule, so that the same machine always trains in the same way.

    On a CPU fp32 in channels_last with a tuned allocator was the fastest setting measured, ahead of bf16 and
    of ``torch.compile``, unless the CPU has matrix units for bf16 (AMX). ``benchmarks/training.py`` measures
    it anew.

    Args:
        device: The device that the recipe names; by default ``auto``.
        precision: The precision that the recipe names; by default ``auto``.

    Raises:
        GraftError: The recipe names a device or a precision that this machine does not have.
    """
    import torch

    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise GraftError(
            "finetune.device: cuda, but torch finds no CUDA device here. "
            "Set `device: auto`, or see: graft doctor"
        )
    chosen: Literal["cpu", "cuda"] = "cuda" if cuda and device != "cpu" else "cpu"
    arithmetic, reason = _precision(precision, chosen)
    processes = launched().count
    return Settings(chosen, arithmetic, threads=thread_limit(), why=reason, processes=processes)


def suit_network(
    settings: Settings,
    precision: PrecisionChoice,
    *,
    has_grouped_convolutions: bool,
    bf16_fault: str | None = None,
) -> Settings:
    """Return the settings for a network, whose layers half precision or a CPU's matrix units may not suit.

    In bf16 a CPU with AMX trained ResNet18 2.6 times as fast as in fp32, but networks of grouped convolutions
    as fast at best, and EfficientNet-Lite0 0.8 times as fast.

    Args:
        settings: What was chosen before the network was known.
        precision: The precision that the recipe names.
        has_grouped_convolutions: Whether some of the network's convolutions are grouped.
        bf16_fault: Why the network cannot be run in bf16; None, the default, where it can.

    Raises:
        GraftError: The recipe names a precision that the network cannot be run in.
    """
    if bf16_fault is not None and precision != "auto":
        raise GraftError(
            f"finetune.precision: {precision}, but the backbone cannot be run in it ({bf16_fault}). Set fp32."
        )
    chosen_here = precision == "auto" and settings.device == "cpu" and settings.precision == "bf16"
    if bf16_fault is not None:
        why = f"fp32, because the backbone cannot be run in bf16 ({bf16_fault})"
    elif chosen_here and has_grouped_convolutions:
        why = "fp32, because grouped convolutions gain nothing from this cpu's matrix units for bf16 (AMX)"
    else:
        return settings
    log.info("training in %s", why)
    return replace(settings, precision="fp32", why=why)


def _precision(choice: str, device: str) -> tuple[Literal["fp32", "bf16"], str]:
    if choice == "fp32":
        return "fp32", "fp32, as the recipe says"
    has_bf16, unit = _bf16_units(device)
    if choice == "bf16":
        if not has_bf16 and device == "cuda":
            raise GraftError(
                "finetune.precision: bf16, but this GPU has no bf16. Set `precision: auto` or `fp32`."
            )
        return "bf16", "bf16, as the recipe says"
    if has_bf16:
        return "bf16", f"bf16, because this {device} has {unit}"
    return "fp32", f"fp32, because this {device} has no {unit}"


def _bf16_units(device: str) -> tuple[bool, str]:
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False), "bf16 tensor cores"
    return "amx_bf16" in cpu_flags(), "matrix units for bf16 (AMX)"


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets of the CPU, as Linux names them; they are empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))


def cpu_name() -> str:
    """Return the name of the CPU, as its maker gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def gpu_names() -> list[str]:
    """Return the names of the NVIDIA GPUs, as the driver lists them; they are empty without a driver.

    No library is needed for it.
    """
    lines = [path.read_text() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return [
        line.split(":", 1)[1].strip()
        for text in lines
        for line in text.splitlines()
        if line.startswith("Model:")
    ]


def hardware_names() -> dict[str, str | list[str]]:
    """Return the names of the CPU and of the NVIDIA GPUs, for which measurements hold."""
    return {"cpu": cpu_name(), "gpus": gpu_names()}


def tune_allocator() -> bool:
    """Keep freed memory in the process instead of returning it to the kernel between operations.

    With glibc's defaults every large activation is mapped, faulted in page by page, and unmapped again, which
    costs a CPU more than the arithmetic on it.

    Returns:
        Whether it could be done, which is only so with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    pairs = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(libc.mallopt(name, value) == 1 for name, value in pairs)


def apply_settings(settings: Settings, seed: int) -> None:
    """Set torch's threads, seed and determinism for this process, and log what was chosen and why.

    Args:
        settings: The settings of training.
        seed: Seed of torch's random numbers.
    """
    import torch

    tuned = settings.device == "cpu" and tune_allocator()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    if settings.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
    # On CUDA some backward passes have no deterministic form: torch then warns rather than stops.
    torch.use_deterministic_algorithms(mode=True, warn_only=settings.device == "cuda")
    # This is an aid for debugging, and costs a pass over memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    log.info(
        "training on %s with %d threads: %s%s",
        settings.device, settings.threads, settings.why, "; allocator tuned (mallopt)" if tuned else "",
    )  # fmt: skip
