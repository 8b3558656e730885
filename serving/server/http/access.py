"""What a request must pass before it is read: its headers, its key, and a model that can answer it."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable
from typing import Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.errors import PICKLE_REFUSED, InputRefusedError
from serving.server.http.encoding import GZIP, IDENTITY, read_encoding
from serving.server.http.keys import KEYS_VARIABLE, Keys
from serving.server.http.limits import LimitedBody

Access = Literal["probe", "ready", "page", "about", "model"]
"""Who is answered at a route.

A ``probe`` is open to anybody; ``ready`` is too, but says no to a machine that is given no predictions; a
``page`` is open since it holds no secret; ``about`` tells of the service,
and needs a key if the service is told so; ``model`` needs a key, and a model that is ready.
"""

Headers = dict[bytes, bytes]

MOST_HEADER_BYTES: Final = 32 * 1024
_BEARER: Final = "bearer "
# What proxies say that they are by, and the starts of such names; no browser and no other client sends them.
_PROXIES_HEADERS: Final = frozenset({
    b"forwarded", b"via", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-original-host",
    b"x-original-forwarded-for", b"x-real-ip", b"fastly-client-ip",
})  # fmt: skip
_PROXIES_STARTS: Final = (b"x-forwarded", b"x-envoy-", b"x-amzn-", b"cf-")
REMEDY: Final = (
    f"Give the service keys by {KEYS_VARIABLE}, GRAFT_API_KEYS_FILE or --api-keys-file, "
    "or let anybody call it by GRAFT_ALLOW_ANONYMOUS=1 or --allow-anonymous."
)
KEYLESS: Final = (
    "There are no API keys, so only this machine itself is given predictions, and not through a proxy, which "
    f"is told by its headers or by HTTP/1.0. {REMEDY}"
)
LOOPBACK_NETWORK: Final = 127
IN_PROCESS: Final = "testclient"  # what Starlette's client for tests names itself, as no socket can


class Guard:
    """Refuses requests that must not be read.

    Args:
        keys: Keys of those who may call.
        protect_all: Whether metrics and documentation need a key too.
        is_keyless: Whether only this machine is answered, because there are no keys that others could send.
        require_model: Raises the reason when no model is ready.
    """

    def __init__(
        self, keys: Keys, *, protect_all: bool, is_keyless: bool, require_model: Callable[[], object]
    ) -> None:
        self._keys = keys
        self._protected = {"model", "about"} if protect_all else {"model"}
        self._is_keyless = is_keyless
        self._require_model = require_model

    def check(self, scope: Scope, access: Access) -> None:
        """Raise ServingError for a request that must not be read, or that nothing could answer."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            text = f"The headers have more than {MOST_HEADER_BYTES:,} bytes. Send less."
            raise InputRefusedError("headers_too_large", text, status=431)
        headers = dict(reversed(scope["headers"]))  # the first of several counts
        if access in self._protected:
            self._require_key(scope, headers)
        if access == "ready" and self._is_keyless and not _is_local(scope, headers):
            raise InputRefusedError("no_keys", KEYLESS, status=503)
        if access == "model":
            self._require_model()
            _refuse_types(scope, headers)

    def _require_key(self, scope: Scope, headers: Headers) -> None:
        if self._keys.are_set:
            # A proxy that knows its users sends an Authorization of its own beside the client's X-API-Key.
            if not any(self._keys.accept(key) for key in _given_keys(headers)):
                text = (
                    "A valid API key is needed. Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
                )
                raise InputRefusedError("unauthorized", text, status=401)
        elif self._is_keyless and not _is_local(scope, headers):
            raise InputRefusedError("unauthorized", KEYLESS, status=401)


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


def _given_keys(headers: Headers) -> list[str]:
    """Return the keys that a request carries, of which one must be valid."""
    given = _text(headers, b"authorization")
    bearer = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""
    return [bearer, _text(headers, b"x-api-key").strip()]


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Return whether a request came from this machine, as far as can be seen.

    It did if it came in at an address that no other machine can reach, through no proxy that shows, and not
    from a page of another site whose name was made to mean this machine (DNS rebinding). A proxy shows by a
    forwarding header, or by HTTP/1.0, which nginx before 1.29.7 speaks unless it is told otherwise. One that
    forwards in HTTP/1.1 to `localhost` without a word, as nginx does since, looks like this machine.
    """
    client, server = scope.get("client"), scope.get("server")
    if _shows_proxy(scope, headers):
        return False
    if client and client[0] == IN_PROCESS:
        return True
    if server and server[1] is not None and not is_loopback(server[0]):  # a Unix socket has no port
        return False
    host = (_text(headers, b"host") or "localhost").rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) or name.lower().removesuffix(".").endswith(".localhost")  # RFC 6761, section 6.3


def _shows_proxy(scope: Scope, headers: Headers) -> bool:
    return (
        (scope.get("http_version") == "1.0" and b"host" in headers)
        or not _PROXIES_HEADERS.isdisjoint(headers)
        or any(name.startswith(_PROXIES_STARTS) for name in headers)
    )


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether an address, in any of its spellings, is one that no other machine can reach."""
    name = host.partition("%")[0].lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or _is_short_loopback(name)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_short_loopback(name: str) -> bool:
    """Return whether a name is an IPv4 loopback address in one of inet_aton's spellings, such as 127.1."""
    try:
        return name[:1].isdigit() and socket.inet_aton(name)[0] == LOOPBACK_NETWORK
    except OSError:
        return False


def _refuse_types(scope: Scope, headers: Headers) -> None:
    if b"pickle" in headers.get(b"content-type", b""):
        raise InputRefusedError("pickle_refused", PICKLE_REFUSED, status=415)
    encoding = read_encoding(scope["headers"])
    if encoding not in {IDENTITY, GZIP}:
        text = f"Send the body as it is or packed with {GZIP}, not as {encoding[:40]}."
        raise InputRefusedError("wrong_encoding", text, status=415)
