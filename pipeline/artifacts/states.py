"""What became of each artifact."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class State:
    """What became of an artifact.

    Attributes:
        published: Whether it is in the bundle.
        why: What was measured, or the reason that it is not.
        speedup: Its speed in times that of ``onnx-fp32`` on one thread: median, low and high of interleaved
            rounds; None: not run.
    """

    published: bool
    why: str
    speedup: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """One line."""
        return f"published: {self.why}" if self.published else f"not published, because {self.why}"
