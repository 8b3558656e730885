"""The gRPC server of one worker, in the worker's own event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Final

import grpc

from serving.model.errors import SettingsError
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.frame import LEFT, Frame
from serving.server.grpc.health import HealthService

END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
MOST_CALLS: Final = 1024  # at one time, health checks that watch included
DEAD_AFTER_MS: Final = 60_000  # of silence, a caller is asked whether it is still there
# Between two such questions of a caller. Proxies and clients that keep connections alive ask every 10 to 30
# s, which gRPC takes for an attack by default: it ends the connection, with all its calls.
QUESTIONS_APART_MS: Final = 5_000
CORE: Final = "grpc._cython.cygrpc"
ONLY_UNPACKED: Final = 1  # a bit for each way of packing; gRPC unpacks without a limit
MOST_METADATA_BYTES: Final = 32 * 1024


@asynccontextmanager
async def answering(
    address: GrpcAddress, frame: Frame, health: HealthService, most_bytes: int
) -> AsyncIterator[None]:
    """Answer gRPC for as long as the context is open, and let calls come to their end then.

    They begin to do so with the signal that ends the process, since uvicorn answers HTTP to its end first.

    Args:
        address: Where to listen.
        frame: Answers calls.
        health: Is told when no more calls are taken.
        most_bytes: Size of the largest message, in bytes.

    Raises:
        SettingsError: The address cannot be listened on, or the certificate cannot be used.
    """
    logging.getLogger(CORE).addFilter(_is_worth_a_line)
    server = _open(address, frame, most_bytes)
    await server.start()
    loop = asyncio.get_running_loop()
    drains: list[asyncio.Task[None]] = []

    def drain() -> None:
        if not drains:
            health.is_draining.set()
            drains.append(loop.create_task(server.stop(address.drain_s)))

    with _told_to_end(lambda: loop.call_soon_threadsafe(drain)):
        try:
            yield
        finally:
            drain()
            await drains[0]


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Return whether a line of gRPC's log tells of more than an answer that its caller did not wait for."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, LEFT)


def _open(address: GrpcAddress, frame: Frame, most_bytes: int) -> grpc.aio.Server:
    options = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MOST_METADATA_BYTES),
        ("grpc.keepalive_time_ms", DEAD_AFTER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", QUESTIONS_APART_MS),
        ("grpc.compression_enabled_algorithms_bitset", ONLY_UNPACKED),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((frame,))
    target = address.to_target()
    try:
        if address.tls_certificate:
            server.add_secure_port(target, _read_credentials(address))
        else:
            server.add_insecure_port(target)
    except (OSError, RuntimeError) as error:
        text = f"{target}: gRPC cannot be answered there ({error}). Choose another with --grpc-port."
        raise SettingsError("cannot_listen", text) from error
    return server


def _read_credentials(address: GrpcAddress) -> grpc.ServerCredentials:
    assert address.tls_certificate
    certificate = address.tls_certificate.read_bytes()
    key = (address.tls_key or address.tls_certificate).read_bytes()
    return grpc.ssl_server_credentials([(key, certificate)])


@contextmanager
def _told_to_end(act: Callable[[], object]) -> Iterator[None]:
    """Act when the process is told to end, beside what happens then already."""
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    former = {number: signal.getsignal(number) for number in END_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        act()
        handler = former[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number, handler in former.items():
        if callable(handler):
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in former.items():
            if callable(handler):
                signal.signal(number, handler)
