"""A floor under the metrics: a run that misses it goes no further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import GateFailedError
from pipeline.recipe import Metric


def require_metrics(metrics: Mapping[str, Any], least: Mapping[Metric, float], report: Path) -> None:
    """Compare measured metrics with the recipe's ``evaluate.require``.

    Raises:
        GateFailedError: Any of them is below its least value; all such are listed.
    """
    missed = [f"{name} is {metrics[name]:.4f}, required {floor:g}" for name, floor in least.items() if metrics[name] < floor]
    if missed:
        raise GateFailedError(
            f"evaluate.require: {'; '.join(missed)}. Nothing is packaged. {report} shows where it errs."
            " Improve the recipe, or lower the requirement knowingly."
        )
