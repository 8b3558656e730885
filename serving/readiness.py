"""Whether this process can answer, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from serving.errors import ServingError


@dataclass
class Readiness:
    """Shared by a service and its middleware, which BentoML makes apart from each other.

    Attributes:
        refusal: Why the bundle cannot be served; None while there is no such reason.
    """

    refusal: ServingError | None = None
