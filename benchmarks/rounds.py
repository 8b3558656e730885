"""The parts that the benchmarks share: variants in processes of their own, and medians with their range."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any


def measure_apart(script: str, *arguments: object) -> dict[str, Any]:
    """Run one variant in a process of its own, since the settings of an allocator hold for a whole process.

    Args:
        script: Path of the script.
        arguments: Its arguments.

    Returns:
        The JSON object that it prints as its last line.
    """
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )


def spread(values: list[float], digits: int = 2) -> str:
    """Format the median and the range of some figures, for people."""
    return f"{statistics.median(values):8.{digits}f}   [{min(values):.{digits}f}, {max(values):.{digits}f}]"
