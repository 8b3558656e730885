"""What becomes known of a request on its way, kept in its ASGI scope."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from serving.model.schemas import ErrorBody, Prediction
from serving.model.timings import Timings

_PLACE: Final = "graft.exchange"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True)
class Exchange:
    """A request and its answer.

    Attributes:
        id: The client's ``X-Request-ID``, or a new one where the client sent none, or one with characters
            other than letters, digits and ``._:/+=-``.
        started: When the request came, by ``time.perf_counter``.
        status: HTTP status code of the answer; 0 until the answer has begun.
        code: Code of the refusal that the answer is, or None.
        bytes_out: Size of the answer's body so far, in bytes.
        timings: Where the time of a prediction went.
        answers: The predictions of the request's items, or the errors of those that were refused. They are
            counted once the response has been sent.
    """

    id: str
    started: float
    status: int = 0
    code: str | None = None
    bytes_out: int = 0
    timings: Timings | None = None
    answers: Sequence[Prediction | ErrorBody] = ()

    @classmethod
    def begin(cls, scope: Scope) -> Exchange:
        """Keep a new exchange in the scope of a request that has just come."""
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        # A new id must be unique, not secret: asking the system for random bytes costs 20 microseconds.
        new_id = f"{random.getrandbits(128):032x}"
        request_id = given.decode("ascii") if _REQUEST_ID.fullmatch(given) else new_id
        exchange = scope[_PLACE] = cls(request_id, time.perf_counter())
        return exchange

    @staticmethod
    def of(request: Request | Scope) -> Exchange:
        """Return the exchange of a request."""
        exchange: Exchange = request[_PLACE]
        return exchange

    def seconds(self) -> float:
        """Return the seconds since the request came."""
        return time.perf_counter() - self.started
