"""Checkpoints of a training as files: when they are made, and which one counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import atomic
from pipeline.finetune.resuming.files import (
    SUFFIX,
    DamagedError,
    pack,
    read_document,
    read_tree,
    unpack,
    write_tree,
)
from pipeline.finetune.resuming.identity import Identity
from pipeline.finetune.resuming.keeper import Resumed
from pipeline.finetune.resuming.tree import Tree, size_of
from pipeline.finetune.resuming.unfinished import Unfinished
from pipeline.machine.processes import Processes

log = logging.getLogger("graft")
KEPT = 2
# What is hashed and written in a second, for the first one.
USUAL_BYTES_PER_S = 200e6
OUTCOME = f"outcome{SUFFIX}"


@dataclass
class Spent:
    """What the checkpoints of a training have cost, in this process.

    Attributes:
        writes: Number of checkpoints that were written.
        seconds: Seconds that this took.
        size: Size of the last one, in bytes.
    """

    writes: int = 0
    seconds: float = 0.0
    size: int = 0


class FileKeeper:
    """Keeps the states of one training in a folder.

    A checkpoint is of the start of an epoch or from within it. Two are kept, and the epoch's start with them.

    Args:
        unfinished: The stage's folder and what it depends on.
        name: The training's name, the same whenever the command is repeated, and no other's.
    """

    def __init__(self, unfinished: Unfinished, name: str) -> None:
        self.unfinished = unfinished
        self.folder = unfinished.folder_of(name)
        self.name = name
        self.written_at = time.monotonic()
        self.started_at = time.monotonic()
        self.spent = Spent()
        self._identity: Identity = unfinished.identity
        self._boundary: Path | None = None  # the file of the start of the present epoch, once it is written
        self._failed = False

    def find(self, identity: Identity) -> tuple[Resumed | None, Tree | None]:
        """Return what an unfinished training goes on from, and the outcome of a finished one, if any.

        Args:
            identity: What this training depends on besides what the stage does.

        Raises:
            GraftError: What the unfinished training depends on has changed since.
        """
        self._identity = {**self.unfinished.identity, **identity}
        found = _from_first(self.unfinished.processes, self._find)
        if "outcome" in found:
            log.info("finetune: %s is finished already", self.name)
            return None, found["outcome"]["state"]
        if "now" not in found:
            return None, None
        return Resumed(found["now"]["state"], found["boundary"]["state"]), None

    def _find(self) -> dict[str, Tree]:
        """Return what is on the disk: an ``outcome``, or ``now`` and the ``boundary``, or nothing."""
        if not self.unfinished.folder.is_dir():
            return {}
        self.unfinished.sweep()
        self.unfinished.check_all()
        outcome = self._read(self.folder / OUTCOME)
        return self._newest() if outcome is None else {"outcome": outcome}

    def is_due(self) -> bool:
        """Say whether the time since the last checkpoint asks for one within the epoch."""
        late = time.monotonic() - self.written_at >= self.unfinished.minutes * 60
        return late and self.unfinished.processes.is_first

    def save_step(self, state: Tree, boundary: Tree) -> None:
        """Write a checkpoint from within an epoch.

        Args:
            state: The state now.
            boundary: The state at the start of the epoch, which is written first if it is not on the disk.
        """
        if self._boundary is None or not self._boundary.is_file():
            self._boundary = self._write(boundary, None)
        if self._boundary is not None:
            self._write(state, self._boundary.name)

    def save_epoch(self, state: Tree) -> None:
        """Write the state at the start of an epoch, unless checkpoints would take too much of the time.

        Args:
            state: The state now.
        """
        self._boundary = None
        spent, now = self.spent, time.monotonic()
        usual = spent.seconds / spent.writes if spent.writes else size_of(state) / USUAL_BYTES_PER_S
        if now - self.written_at >= usual / self.unfinished.largest_share:
            self._boundary = self._write(state, None)

    def go_back(self) -> None:
        """Take note that the training goes on from the start of the epoch, with another learning rate."""
        self._boundary = None

    def finish(self, outcome: Tree) -> None:
        """Write the outcome of a finished training, and remove its checkpoints.

        Args:
            outcome: The outcome.
        """
        if self._write(outcome, None, OUTCOME) is not None:
            for path in self._files():
                path.unlink(missing_ok=True)
        spent, seconds = self.spent, time.monotonic() - self.started_at
        if spent.writes:
            log.info(
                "finetune: checkpoints: %d, in %.1f s, %.1f %% of the time; the last one has %.1f MB",
                spent.writes,
                spent.seconds,
                100 * spent.seconds / max(seconds, 1e-9),
                spent.size / 1e6,
            )

    def discard(self) -> None:
        """Remove everything of the stage, since nothing can go on from there."""
        if self.unfinished.processes.is_first:
            atomic.remove_folder(self.unfinished.folder)

    def _write(self, state: Tree, boundary: str | None, name: str | None = None) -> Path | None:
        """Write a state, and return its file; None where it could not be written, of which the log tells."""
        if not self.unfinished.processes.is_first:
            return None
        start, files = time.monotonic(), self._files()
        number = int(files[-1].stem) + 1 if files else 1
        path = self.folder / (name or f"{number:06d}{SUFFIX}")
        try:
            write_tree(path, {"identity": self._identity, "boundary": boundary, "state": state})
        except OSError as error:
            self._tell_failure(error)
            return None
        finally:
            self.written_at = time.monotonic()
        self._prune()
        self._failed = False
        spent = self.spent
        spent.writes, spent.seconds = spent.writes + 1, spent.seconds + self.written_at - start
        spent.size = path.stat().st_size
        return path

    def _tell_failure(self, error: OSError) -> None:
        """Warn that a checkpoint could not be written, once until one could."""
        if self._failed:
            return
        self._failed = True
        before = self._files()
        held = "the one before it is still there" if before else "there is none yet"
        log.warning(
            "finetune: a checkpoint could not be written to %s (%s); %s, and training goes on."
            " Free some space there, or give yourself the right to write; the next one then succeeds",
            self.folder,
            error.strerror or error,
            held,
        )

    def _prune(self) -> None:
        """Remove all checkpoints but the newest two, and the starts of the epochs that these are from."""
        files = self._files()
        kept = set(files[-KEPT:])
        kept |= {self.folder / name for name in map(_boundary_of, kept) if name is not None}
        for path in files:
            if path not in kept:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Return the checkpoints, the oldest first."""
        return sorted(path for path in self.folder.glob(f"*{SUFFIX}") if path.stem.isdigit())

    def _newest(self) -> dict[str, Tree]:
        """Return the newest checkpoint that is whole; the log tells of those that are not."""
        for path in reversed(self._files()):
            stored = self._read(path)
            if stored is None:
                continue
            name = stored["boundary"]
            boundary = stored if name is None else self._read(self.folder / name)
            if boundary is None:
                continue
            self._boundary = path if name is None else self.folder / name
            return {"now": stored, "boundary": boundary}
        return {}

    def _read(self, path: Path) -> Any:  # noqa: ANN401 - a tree, or None
        """Return a checkpoint's tree; None where there is none, or one that is damaged."""
        if not path.is_file():
            return None
        try:
            stored = read_tree(path)
        except DamagedError as error:
            log.warning("finetune: %s; the checkpoint before it is used", error)
            return None
        self.unfinished.check(stored["identity"], self._identity)
        return stored


def _from_first(processes: Processes, find: Callable[[], dict[str, Tree]]) -> dict[str, Tree]:
    """Return what the first process finds, packed on its way to the others."""
    if processes.is_alone:
        return find()

    def packed() -> dict[str, NDArray[np.uint8]]:
        return {name: np.frombuffer(pack(tree), np.uint8) for name, tree in find().items()}

    return {name: unpack(data.tobytes()) for name, data in processes.from_first(packed).items()}


def _boundary_of(path: Path) -> str | None:
    """Return the name of the file with the start of a checkpoint's epoch; None if it is that itself."""
    try:
        name: str | None = read_document(path)["boundary"]
    except DamagedError:
        return None
    return name
