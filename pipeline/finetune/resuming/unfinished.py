"""The folder of a stage's unfinished trainings, and whether they are still those to be carried out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.finetune.resuming.files import SUFFIX, DamagedError, read_document
from pipeline.finetune.resuming.identity import Identity, differences
from pipeline.machine.processes import ALONE, Processes

# Checkpoints after epochs may take a fiftieth of the time: after short epochs of a large network only some.
LARGEST_SHARE = 0.02


@dataclass(frozen=True)
class Unfinished:
    """The folder of a stage's unfinished trainings, each of which has a folder of its name in it.

    Attributes:
        folder: The folder; it need not exist.
        identity: What all trainings of the stage depend on.
        minutes: Minutes between two checkpoints in an epoch.
        remedy: The sentence that tells how to begin anew.
        largest_share: Largest share of the time that checkpoints after epochs may take.
        processes: The processes that share the trainings, of which the first one reads and writes.
    """

    folder: Path
    identity: Identity
    minutes: float = 5.0
    remedy: str = "To begin anew: graft finetune RUN --force"
    largest_share: float = LARGEST_SHARE
    processes: Processes = ALONE

    def folder_of(self, name: str) -> Path:
        """Return the folder of one training.

        Args:
            name: The training's name, the same whenever the command is repeated, and no other's.
        """
        return self.folder / re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")

    def sweep(self) -> None:
        """Remove what a killed process was writing."""
        for inside in self.folder.iterdir():
            if inside.is_dir():
                atomic.recover(inside)

    def check_all(self) -> None:
        """Make sure that no training in the folder depends on what has changed since.

        Raises:
            GraftError: One does.
        """
        for identity in _identities(self.folder):
            known = {name: identity.get(name) for name in self.identity}
            self.check(known, self.identity)

    def check(self, kept: Identity, current: Identity) -> None:
        """Make sure that what was kept is of the same training.

        Args:
            kept: What the kept training depends on.
            current: What the training that is to be carried out depends on.

        Raises:
            GraftError: They differ; the message names the differences and the remedy.
        """
        changed = differences(kept, current)
        if changed:
            raise GraftError(
                f"{self.folder}: holds an unfinished training, and since then these have changed:"
                f" {'; '.join(changed)}. Going on would mix two trainings. To go on, put that back."
                f" {self.remedy}"
            )


def _identities(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the identity of each training in a stage's folder, of one file each that can be read."""
    for inside in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(inside.glob(f"*{SUFFIX}"), reverse=True):
            try:
                yield read_document(path)["identity"]
                break
            except DamagedError:
                continue
