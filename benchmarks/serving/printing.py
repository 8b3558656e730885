"""The figures of the comparison for people, and the machine that they hold for."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from rounds import spread

from pipeline.machine.settings import cpu_name
from serving.model.runtimes.machine import cpu_limit

PACKAGES = (
    "graft-ml",
    "fastapi",
    "litserve",
    "uvicorn",
    "starlette",
    "uvloop",
    "httptools",
    "onnxruntime-gpu",
    "onnxruntime",
    "pillow",
    "simplejpeg",
    "cykooz-resizer",
    "tokenizers",
    "pydantic",
)
MEASURES = {"per_s": "requests/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms"}
HERE_ALONE = "in this process"
# What decides how fast integers and small floating-point numbers are multiplied.
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def print_load(rounds: list[dict[str, Any]], clients: int) -> None:
    """Print the figures at one number of clients, and the ratios of ours to each of the others."""
    loads = [each["load"][clients] for each in rounds]
    print(f"\n{clients} client{'s' if clients > 1 else ''}")
    for name in loads[0]:
        for measure, unit in MEASURES.items():
            print(f"  {name:<22} {unit:<12} {spread([load[name][measure] for load in loads])}")
    for name in loads[0]:
        if not name.startswith("ours"):
            faster = [load["ours"]["per_s"] / load[name]["per_s"] for load in loads]
            slower = [load["ours"]["p99_ms"] / load[name]["p99_ms"] for load in loads]
            print(f"  {'ours / ' + name:<29} requests/s {spread(faster)}    p99 {spread(slower)}")


def print_rest(rounds: list[dict[str, Any]], starts: dict[str, list[float]]) -> None:
    """Print what one request costs beside the work itself, and the memory and the start of each server."""
    if "in_process_p50_ms" in rounds[0]:
        alone = [each["in_process_p50_ms"] for each in rounds]
        print(f"\none client's p50 beside decoding and the session\n  {HERE_ALONE:<35} ms {spread(alone)}")
        for name in (name for name in rounds[0]["load"][1] if name.startswith("ours")):
            added = [each["load"][1][name]["p50_ms"] - each["in_process_p50_ms"] for each in rounds]
            print(f"  {'added by ' + name:<35} ms {spread(added)}    (goal: 1)")
    print("\nmemory of the process tree after a round's load")
    for name in rounds[0]["memory"]:
        for measure, unit in {"rss_mb": "resident, MB", "pss_mb": "shared once, MB"}.items():
            print(f"  {name:<22} {unit:<15} {spread([each['memory'][name][measure] for each in rounds], 0)}")
    print("\nstart to the first answer")
    for name, values in starts.items():
        print(f"  {name:<36} s {spread(values)}")


def machine() -> dict[str, Any]:
    """Describe the machine and the packages that the figures hold for."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    system = {"system": platform.platform(), "python": platform.python_version()}
    cpu = {"cpu": cpu_name(), "cpus": cpu_limit(), "flags": cpu_flags()}
    return cpu | system | {"versions": versions}


def cpu_flags() -> list[str]:
    """The instructions of this CPU that matter here; none where the system does not say."""
    file = Path("/proc/cpuinfo")
    found = set(file.read_text().split()) if file.exists() else set()
    return [flag for flag in CPU_FLAGS if flag in found]
