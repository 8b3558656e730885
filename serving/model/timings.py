"""Where a request's time went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timings:
    """Seconds; of a batch the sums of its items.

    Attributes:
        queue_s: Waiting for a thread, and for the accelerator where there is one.
        decode_s: From bytes to the model's input.
        session_s: In the model; of a group that ran together the time of all of it.
        batch_size: How many inputs that run had.
    """

    queue_s: float = 0.0
    decode_s: float = 0.0
    session_s: float = 0.0
    batch_size: int = 1

    def to_header(self, total_s: float) -> str:
        """As ``Server-Timing`` (https://www.w3.org/TR/server-timing/), in milliseconds."""
        parts = {"queue": self.queue_s, "decode": self.decode_s, "session": self.session_s, "total": total_s}
        return ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts.items())
