"""The figures of a budget, from what an image holds and how it ran."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from pipeline.budget.contents import Contents
from pipeline.budget.records import Figure
from pipeline.budget.trial import Trial
from pipeline.budget.vulnerabilities import Known
from pipeline.recipe.budget import Budget

NO_DUMP = "no dump of known vulnerabilities was given; --osv DUMP"


def judge_contents(contents: Contents, known: Known | None, limits: Budget) -> list[Figure]:
    """Return the figures of what an image holds.

    Args:
        contents: What it holds.
        known: The known vulnerabilities of its packages; None where no dump was given.
        limits: The limits of the recipe.
    """
    debian = sum(package.ecosystem == "Debian" for package in contents.packages)
    found = sorted(
        name
        for name in contents.names()
        if any(fnmatchcase(name.lower(), each.lower()) for each in limits.forbidden)
    )
    return [
        Figure(
            name="image_mb",
            value=contents.size_mb,
            unit="MB",
            limit=limits.image_mb,
            note=f"and {contents.model_mb:,.1f} MB of the model",
        ),
        Figure(
            name="packages",
            value=len(contents.packages),
            unit="",
            limit=limits.packages,
            note=f"{debian} of Debian, {len(contents.packages) - debian} of Python",
        ),
        Figure(
            name="forbidden",
            value=len(found),
            unit="",
            limit=0,
            note=f"{', '.join(found) or 'none'} of {', '.join(limits.forbidden)}",
        ),
        Figure(
            name="vulnerabilities",
            value=None if known is None else len(known.vulnerabilities),
            unit="",
            limit=limits.vulnerabilities,
            note=NO_DUMP if known is None else f"known on {known.newest[:10]}",
        ),
    ]


def judge_trial(trial: Trial, limits: Budget) -> list[Figure]:
    """Return the figures of how an image ran.

    Args:
        trial: How it ran.
        limits: The limits of the recipe.
    """
    starts = sorted(trial.cold_starts_s)
    p99_ms = float(np.percentile(trial.latencies_ms, 99)) if trial.latencies_ms else None
    return [
        Figure(
            name="cold_start_s",
            value=float(np.median(starts)),
            unit="s",
            limit=limits.cold_start_s,
            note=f"one CPU; {starts[0]:.2f} to {starts[-1]:.2f} in {len(starts)} starts",
        ),
        Figure(
            name="memory_mb", value=trial.memory_mb, unit="MB", limit=limits.memory_mb, note=trial.memory_of
        ),
        Figure(
            name="p99_ms",
            value=p99_ms,
            unit="ms",
            limit=limits.p99_ms,
            note=_describe(trial.latencies_ms) if trial.latencies_ms else trial.without_latencies,
        ),
    ]


def judge_untried(reason: str, limits: Budget, *, failed: bool = False) -> list[Figure]:
    """Return the same figures where the image could not be run.

    Args:
        reason: Why it could not.
        limits: The limits of the recipe.
        failed: Whether the container itself failed; otherwise this machine could not run any.
    """
    named = (
        ("cold_start_s", "s", limits.cold_start_s),
        ("memory_mb", "MB", limits.memory_mb),
        ("p99_ms", "ms", limits.p99_ms),
    )
    return [
        Figure(name=name, value=None, unit=unit, limit=limit, note=reason, failed=failed)
        for name, unit, limit in named
    ]


def _describe(latencies_ms: Sequence[float]) -> str:
    return f"one CPU; of {len(latencies_ms):,} requests in turn, median {np.median(latencies_ms):.2f}"
