"""What a training asks of those who keep its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.finetune.resuming.identity import Identity
from pipeline.finetune.resuming.tree import Tree


@dataclass(frozen=True)
class Resumed:
    """What a training goes on from.

    Attributes:
        now: The state to go on from.
        boundary: The state at the start of the epoch, which a diverged loss goes back to.
    """

    now: Tree
    boundary: Tree


class Keeper(Protocol):
    """Keeps the states of one training."""

    def find(self, identity: Identity) -> tuple[Resumed | None, Tree | None]:
        """Return what an unfinished training goes on from, and the outcome of a finished one, if any.

        Args:
            identity: What this training depends on besides what the stage does.

        Raises:
            GraftError: What the unfinished training depends on has changed since.
        """
        ...

    def is_due(self) -> bool:
        """Say whether the time since the last checkpoint asks for one within the epoch."""
        ...

    def save_step(self, state: Tree, boundary: Tree) -> None:
        """Write a checkpoint from within an epoch.

        Args:
            state: The state now.
            boundary: The state at the start of the epoch, to which a diverged loss goes back.
        """
        ...

    def save_epoch(self, state: Tree) -> None:
        """Write the state at the start of an epoch, unless checkpoints would take too much of the time.

        Args:
            state: The state now.
        """
        ...

    def go_back(self) -> None:
        """Take note that the training goes on from the start of the epoch, with another learning rate."""
        ...

    def finish(self, outcome: Tree) -> None:
        """Write the outcome of a finished training, and remove its checkpoints.

        Args:
            outcome: The outcome.
        """
        ...

    def discard(self) -> None:
        """Remove everything of the stage, since nothing can go on from there."""
        ...


class NoKeeper:
    """Keeps nothing."""

    def find(self, identity: Identity) -> tuple[Resumed | None, Tree | None]:  # noqa: ARG002
        """Return nothing."""
        return None, None

    def is_due(self) -> bool:
        """Return False."""
        return False

    def save_step(self, state: Tree, boundary: Tree) -> None:
        """Do nothing."""

    def save_epoch(self, state: Tree) -> None:
        """Do nothing."""

    def go_back(self) -> None:
        """Do nothing."""

    def finish(self, outcome: Tree) -> None:
        """Do nothing."""

    def discard(self) -> None:
        """Do nothing."""
