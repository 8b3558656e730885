"""What a request must pass before it is read: its headers, its key, and a model that can answer it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from serving.model.errors import InputRefusedError
from serving.server.http.exchange import Exchange
from serving.server.http.routes import Route
from serving.server.keys import KEYS_VARIABLE, Keys

MOST_HEADER_BYTES = 32 * 1024
BEARER = "bearer "
FORWARDING = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})
REMEDY = f"Give the service keys by {KEYS_VARIABLE} or --api-keys-file, or let anybody call it by --allow-anonymous."


class Guard:
    """Refuses what must not be read.

    Args:
        keys: Who may call.
        protect_all: Metrics and documentation need a key too.
        allow_anonymous: Where there are no keys, answer other machines too.
        require_model: Raises the reason when no model is ready.
    """

    def __init__(self, keys: Keys, *, protect_all: bool, allow_anonymous: bool, require_model: Callable[[], object]) -> None:
        self._keys = keys
        self._protect_all = protect_all
        self._allow_anonymous = allow_anonymous
        self._require_model = require_model

    def check(self, exchange: Exchange, route: Route) -> None:
        """Raise InputRefusedError for a request that must not be read, ServingError where nothing could answer it."""
        headers = exchange.scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
            text = f"The headers have more than {MOST_HEADER_BYTES:,} bytes. Send less."
            raise InputRefusedError("headers_too_large", text, status=431)
        if self._needs_key(route):
            self._require_key(exchange)
        if route.kind == "model":
            self._require_model()
            _refuse_types(exchange)

    def _needs_key(self, route: Route) -> bool:
        return route.kind == "model" or (self._protect_all and route.kind == "about")

    def _require_key(self, exchange: Exchange) -> None:
        if self._keys.are_set:
            if not self._keys.accept(_given_key(exchange)):
                text = "An API key is needed. Send it as `Authorization: Bearer KEY`."
                raise InputRefusedError("unauthorized", text, status=401)
        elif not self._allow_anonymous and not _is_local(exchange):
            text = f"Without API keys only this machine itself is answered, and not through a proxy. {REMEDY}"
            raise InputRefusedError("unauthorized", text, status=401)


def _given_key(exchange: Exchange) -> str | None:
    given = exchange.header(b"authorization") or ""
    return given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else exchange.header(b"x-api-key")


def _is_local(exchange: Exchange) -> bool:
    """Whether the request came from this machine.

    That is: in at an address that no other machine can reach, through no proxy, and not from a page of another site whose name was made
    to mean this machine (DNS rebinding).
    """
    server = exchange.scope.get("server")
    if server and server[1] is not None and not is_loopback(server[0]):  # a Unix socket has no port
        return False
    host = (exchange.header(b"host") or "localhost").rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) and not any(header in FORWARDING for header, _ in exchange.scope["headers"])


def is_loopback(host: str) -> bool:
    """Whether no other machine can reach an address."""
    try:
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_types(exchange: Exchange) -> None:
    if "pickle" in (exchange.header(b"content-type") or ""):
        raise InputRefusedError("pickle_refused", "Pickled content is never read. Send the input itself.", status=415)
    encoding = (exchange.header(b"content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise InputRefusedError("wrong_encoding", f"Send the body as it is, not as {encoding[:40]}.", status=415)
