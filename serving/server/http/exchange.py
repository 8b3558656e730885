"""One request and what becomes known of it on its way."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from serving.model.errors import InputRefusedError
from serving.model.timings import Timings
from serving.server.http.asgi import Receive, Scope

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
MOST_LOGGED_CHARACTERS = 200


@dataclass(slots=True)
class Exchange:
    """A request.

    Attributes:
        scope: ASGI's.
        receive: Its body.
        id: The client's ``X-Request-ID``, or one of our own.
        started: When it came, by ``time.perf_counter``.
        route: The name of what answers it, from a closed set.
        template: Its path as the table of routes has it, or None where there is nothing.
        parameters: What its path holds.
        timings: Where its time went.
    """

    scope: Scope
    receive: Receive
    id: str
    started: float
    route: str = "none"
    template: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    timings: Timings | None = None

    @classmethod
    def begin(cls, scope: Scope, receive: Receive) -> Exchange:
        """A request that has just come."""
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        own = given.decode("ascii") if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        return cls(scope, receive, own, time.perf_counter())

    @property
    def request(self) -> Request:
        """The same as Starlette's request."""
        return Request(self.scope, self.receive)

    def header(self, name: bytes) -> str | None:
        """The first header of that name, in lower case."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    def top_k(self) -> int | None:
        """How many probabilities an answer should have; raises InputRefusedError."""
        query = self.scope["query_string"]
        if not query:
            return None
        values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top_k")
        if values is None:
            return None
        if len(values) > 1 or not re.fullmatch(r"0*[1-9][0-9]{0,8}", values[0]):
            raise InputRefusedError("bad_top_k", "`top_k` must be one whole number from 1 up.")
        return int(values[0])

    def seconds(self) -> float:
        """Since it came."""
        return time.perf_counter() - self.started

    def to_log(self, status: int, seconds: float, bytes_in: int, bytes_out: int, code: str | None) -> dict[str, Any]:
        """What a log says of it."""
        client = self.scope.get("client")
        record: dict[str, Any] = {
            "request_id": self.id,
            "method": self.scope["method"],
            "path": self.scope["path"][:MOST_LOGGED_CHARACTERS],
            "route": self.route,
            "status": status,
            "duration_ms": round(1000 * seconds, 3),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "client": client[0] if client else None,
        }
        if code:
            record["code"] = code
        if self.timings:
            record |= {
                "queue_ms": round(1000 * self.timings.queue_s, 3),
                "decode_ms": round(1000 * self.timings.decode_s, 3),
                "session_ms": round(1000 * self.timings.session_s, 3),
            }
        return record
