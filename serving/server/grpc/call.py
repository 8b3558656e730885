"""One call: what is known of it, and its message, which is read within the limits on bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message
from starlette.types import Scope

from serving.model.errors import InputRefusedError
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.wire import require_few_fields
from serving.server.http.access import Access
from serving.server.http.exchange import Exchange
from serving.server.http.limits import BodyLimits, Buffered

M = TypeVar("M", bound=Message)
# Of calls that need no key: at one time, of those the ones whose message arrives, and the time that it has.
MOST_OPEN_CALLS: Final = 256
MOST_OPEN_READS: Final = 16
OPEN_READ_S: Final = 2.0


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Attributes:
        path: Path of the method, such as ``/inference.GRPCInferenceService/ModelInfer``.
        name: Name in metrics and logs.
        access: Who is answered.
        answer: Returns the answer; None where it has written all of it.
        is_stream: Whether there may be several answers.
    """

    path: str
    name: str
    access: Access
    answer: Callable[[Call], Awaitable[Message | None]]
    is_stream: bool = False


class Intake:
    """Bounds how many messages arrive at one time, of which none says how large it is.

    Those who need a key and those who do not wait at separate gates, and the latter are bounded in number, so
    that nobody without a key takes the places of those with one.

    Args:
        get_limits: Gives the limits that hold at this moment.
        buffered: Count of the bytes that are held, which HTTP shares.
    """

    def __init__(self, get_limits: Callable[[], BodyLimits], buffered: Buffered) -> None:
        limits = get_limits()
        places = max(1, limits.max_buffered_bytes // limits.max_bytes)
        self.get_limits = get_limits
        self.buffered = buffered
        self._open_calls = 0
        self._keyed, self._open = asyncio.Semaphore(places), asyncio.Semaphore(MOST_OPEN_READS)

    @contextmanager
    def admit(self, access: Access) -> Iterator[None]:
        """Count a call for as long as the context is open; raises InputRefusedError for one too many."""
        if access == "model":  # the engine bounds these
            yield
            return
        if self._open_calls >= MOST_OPEN_CALLS:
            text = f"{MOST_OPEN_CALLS} calls that need no key are here, which is the limit. Try again later."
            raise InputRefusedError("overloaded", text, status=503, retry_after_s=1)
        self._open_calls += 1
        try:
            yield
        finally:
            self._open_calls -= 1

    def gate(self, access: Access) -> tuple[asyncio.Semaphore, float]:
        """Return where calls of an access wait, and how long one of them may take to arrive, in seconds."""
        timeout_s = self.get_limits().timeout_s
        return (self._keyed, timeout_s) if access == "model" else (self._open, min(OPEN_READ_S, timeout_s))


class Call:
    """One call of a method.

    Args:
        context: gRPC's side of the call.
        exchange: What becomes known of it.
        intake: Bounds what arrives.
        access: Who is answered by the method.

    Attributes:
        bytes_in: Size of its message in bytes, once it has arrived.
    """

    def __init__(
        self, context: grpc.aio.ServicerContext, exchange: Exchange, intake: Intake, access: Access
    ) -> None:
        self.exchange = exchange
        self.bytes_in = 0
        self._context = context
        self._intake = intake
        self._access = access

    async def read(self, message: M) -> M:
        """Fill a message with what the caller sent, and return it.

        Raises:
            InputRefusedError: No message came or not in time, or it is too large or cannot be read.
        """
        raw = await self._receive()
        require_few_fields(raw)
        try:
            message.ParseFromString(raw)
        except DecodeError as error:
            text = f"This is no {message.DESCRIPTOR.full_name}."
            raise InputRefusedError("bad_request", text) from error
        return message

    async def write(self, message: Message) -> None:
        """Send one of several answers."""
        await self._context.write(message.SerializeToString())

    def release(self) -> None:
        """Count the message as held no more."""
        self._intake.buffered.bytes -= self.bytes_in

    async def _receive(self) -> bytes:
        gate, timeout_s = self._intake.gate(self._access)
        try:
            async with asyncio.timeout(timeout_s), gate:
                raw: Any = await self._context.read()
        except TimeoutError as error:
            text = f"The message has not arrived within {timeout_s:g} s. Send it faster."
            raise InputRefusedError("body_timeout", text, status=408) from error
        limits = self._intake.get_limits()
        if raw is grpc.aio.EOF:
            text = f"No message came, or one of more than {limits.max_bytes:,} bytes."
            raise InputRefusedError("no_message", text)
        self._hold(raw, limits)
        assert isinstance(raw, bytes)
        return raw

    def _hold(self, raw: bytes, limits: BodyLimits) -> None:
        if len(raw) > limits.max_bytes:
            text = f"The message is larger than {limits.max_bytes:,} bytes. Send less at a time."
            raise InputRefusedError("body_too_large", text, status=413)
        if self._intake.buffered.bytes + len(raw) > limits.max_buffered_bytes:
            text = "The bodies of arriving requests fill the memory that is theirs. Try again later."
            raise InputRefusedError("overloaded", text, status=503, retry_after_s=1)
        self.bytes_in = len(raw)
        self._intake.buffered.bytes += len(raw)


def describe_call(path: str, context: grpc.aio.ServicerContext, address: GrpcAddress) -> Scope:
    """Return a call as the HTTP request that it is, for all that reads ASGI scopes.

    Args:
        path: Path of the method.
        context: The call.
        address: Where it came in.
    """
    return {
        "type": "grpc",
        "method": "POST",
        "scheme": "https" if address.tls_certificate else "http",
        "path": path,
        "http_version": "2",
        "headers": [(key.encode(), _encode(value)) for key, value in context.invocation_metadata() or ()],
        "client": _parse_peer(context.peer()),
        "server": (address.host, address.port),
    }


def _encode(value: Any) -> bytes:  # noqa: ANN401 - gRPC is untyped
    return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")


def _parse_peer(peer: str) -> tuple[str, int] | None:
    """Return the caller's address of what gRPC says, such as ``ipv6:%5B::1%5D:5000``."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None
