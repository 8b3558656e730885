"""What a request must pass before it is read: its headers, its key, and a model that can answer it."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.errors import InputRefusedError
from serving.server.http.keys import KEYS_VARIABLE, Keys
from serving.server.http.limits import LimitedBody

Access = Literal["probe", "page", "about", "model"]
"""Who is answered at a route.

A ``probe`` is open to anybody; a ``page`` is too, since it holds no secret; ``about`` tells of the service,
and needs a key if the service is told so; ``model`` needs a key, and a model that is ready.
"""

Headers = dict[bytes, bytes]

MOST_HEADER_BYTES: Final = 32 * 1024
_BEARER: Final = "bearer "
_FORWARDING: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})
REMEDY: Final = (
    f"Give the service keys by {KEYS_VARIABLE} or --api-keys-file, "
    "or let anybody call it by --allow-anonymous."
)


class Guard:
    """Refuses requests that must not be read.

    Args:
        keys: Keys of those who may call.
        protect_all: Whether metrics and documentation need a key too.
        allow_anonymous: Whether other machines are answered where there are no keys.
        require_model: Raises the reason when no model is ready.
    """

    def __init__(
        self, keys: Keys, *, protect_all: bool, allow_anonymous: bool, require_model: Callable[[], object]
    ) -> None:
        self._keys = keys
        self._protected = {"model", "about"} if protect_all else {"model"}
        self._allow_anonymous = allow_anonymous
        self._require_model = require_model

    def check(self, scope: Scope, access: Access) -> None:
        """Raise ServingError for a request that must not be read, or that nothing could answer."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            text = f"The headers have more than {MOST_HEADER_BYTES:,} bytes. Send less."
            raise InputRefusedError("headers_too_large", text, status=431)
        headers = dict(reversed(scope["headers"]))  # the first of several counts
        if access in self._protected:
            self._require_key(scope, headers)
        if access == "model":
            self._require_model()
            _refuse_types(headers)

    def _require_key(self, scope: Scope, headers: Headers) -> None:
        if self._keys.are_set:
            if not self._keys.accept(_given_key(headers)):
                text = (
                    "A valid API key is needed. Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
                )
                raise InputRefusedError("unauthorized", text, status=401)
        elif not self._allow_anonymous and not _is_local(scope, headers):
            text = f"Without API keys only this machine itself is answered, and not through a proxy. {REMEDY}"
            raise InputRefusedError("unauthorized", text, status=401)


class AccessMiddleware:
    """Lets a request through to its route once it may be read.

    Args:
        app: The route's application.
        guard: Decides.
        access: Who is answered at the route.
    """

    def __init__(self, app: ASGIApp, guard: Guard, access: Access) -> None:
        self._app = app
        self._guard = guard
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; raises ServingError."""
        self._guard.check(scope, self._access)
        LimitedBody.of(scope).require_size()
        await self._app(scope, receive, send)


def _given_key(headers: Headers) -> str | None:
    given = _text(headers, b"authorization")
    if given.lower().startswith(_BEARER):
        return given[len(_BEARER) :].strip()
    return _text(headers, b"x-api-key") or None


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Return whether a request came from this machine.

    It did if it came in at an address that no other machine can reach, through no proxy, and not from a page
    of another site whose name was made to mean this machine (DNS rebinding).
    """
    server = scope.get("server")
    if server and server[1] is not None and not is_loopback(server[0]):  # a Unix socket has no port
        return False
    host = (_text(headers, b"host") or "localhost").rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) and _FORWARDING.isdisjoint(headers)


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether an address is one that no other machine can reach."""
    try:
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_types(headers: Headers) -> None:
    if b"pickle" in headers.get(b"content-type", b""):
        text = "Pickled content is never read. Send the input itself."
        raise InputRefusedError("pickle_refused", text, status=415)
    encoding = (_text(headers, b"content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise InputRefusedError(
            "wrong_encoding", f"Send the body as it is, not as {encoding[:40]}.", status=415
        )
