"""Markers of stages: what tells whether a stage is done, and with which inputs it was carried out."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Stage
from pipeline.run.fingerprints import Dependencies, find_dependencies
from serving.model.files import hash_file

log = logging.getLogger("graft")


@dataclass(frozen=True)
class Marker:
    """The marker of a stage that was carried out.

    Attributes:
        fingerprint: SHA-256, in hexadecimal, of all that its result depended on; empty where there is no
            marker.
        inputs: What it depended on besides its code.
        outputs: SHA-256, in hexadecimal, of the files that it left, by their path in the run.
    """

    fingerprint: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


def find_out(stage: Stage, recipe: Recipe, run: RunFolder) -> tuple[Dependencies, bool]:
    """Return what a stage depends on, and whether it is done: with all of this, its files as it left them.

    Raises:
        GraftError: An input is not on this machine, and the marker does not have it.
    """
    marker = _read_marker(run.marker(stage.name))
    current = find_dependencies(stage, recipe, run, marker.inputs)
    done = current.fingerprint(stage.name) == marker.fingerprint and _holds(marker, stage, run)
    if done:
        for absent in current.absent.values():
            _say_once(stage.name, absent.what)
    return current, done


def is_done(stage: Stage, recipe: Recipe, run: RunFolder) -> bool:
    """Return whether a stage is done. One that was never carried out is not, whatever it depends on.

    Raises:
        GraftError: An input is not on this machine, and the marker does not have it.
    """
    try:
        return run.marker(stage.name).is_file() and find_out(stage, recipe, run)[1]
    except (OSError, ValueError, KeyError):  # what it depends on was taken away
        return False


def write_marker(stage: Stage, run: RunFolder, dependencies: Dependencies, seconds: float) -> None:
    """Mark a stage as done; its files are hashed for it."""
    outputs = {str(path.relative_to(run.root)): hash_file(path) for path in stage.outputs(run)}
    document = {
        "stage": stage.name,
        "fingerprint": dependencies.fingerprint(stage.name),
        "inputs": dependencies.inputs,
        "outputs": outputs,
        "seconds": seconds,
    }
    atomic.write_bytes(run.marker(stage.name), (json.dumps(document, indent=2) + "\n").encode())


def _read_marker(path: Path) -> Marker:
    """Read a marker; one that is missing or damaged is of a stage that is not done."""
    try:
        document = json.loads(path.read_bytes())
        return Marker(document["fingerprint"], document["inputs"], document["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return Marker()


def _holds(marker: Marker, stage: Stage, run: RunFolder) -> bool:
    """Return whether the files of a stage are as it left them."""
    try:
        unchanged = all(hash_file(run.root / name) == sha256 for name, sha256 in marker.outputs.items())
        return unchanged and stage.still_valid(run)
    except (OSError, ValueError, KeyError):
        return False


@functools.cache
def _say_once(stage: str, what: str) -> None:
    log.info("%s: %s; what it held is taken from the run's record", stage, what)
