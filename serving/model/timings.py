"""The measurement of how long the stages of a request take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timings:
    """The seconds that each stage of a request takes; for a batch request, summed over its items.

    Attributes:
        queue_s: Time spent waiting for a worker thread and, where the model runs on an accelerator, for that.
        decode_s: Time spent turning bytes into the model's input.
        session_s: Time spent running the model. An input that is run together with others counts the time of
            the whole run.
        batch_size: Number of inputs in that run. The default is 1.
    """

    queue_s: float = 0.0
    decode_s: float = 0.0
    session_s: float = 0.0
    batch_size: int = 1

    def to_header(self, total_s: float) -> str:
        """Return a ``Server-Timing`` header (https://www.w3.org/TR/server-timing/), in milliseconds.

        Args:
            total_s: Time that the whole request took, in seconds.
        """
        parts = {"queue": self.queue_s, "decode": self.decode_s, "session": self.session_s, "total": total_s}
        return ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts.items())

    def to_log(self) -> dict[str, float]:
        """Return the fields of a log line: the milliseconds of each stage."""
        parts = {"queue_ms": self.queue_s, "decode_ms": self.decode_s, "session_ms": self.session_s}
        return {name: round(1000 * seconds, 3) for name, seconds in parts.items()}
