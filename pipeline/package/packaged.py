"""What packaging for a target leaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Packaged:
    """The outcome of packaging a bundle for one target.

    Attributes:
        target: Name of the target, such as ``triton``.
        place: Path of the folder that was written, or the tag in BentoML's store.
        next_steps: Commands or sentences for people, one a line: how to use what was written.
    """

    target: str
    place: str
    next_steps: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the outcome for people."""
        return "\n".join([f"{self.target}: {self.place}", *(f"  {line}" for line in self.next_steps)])
