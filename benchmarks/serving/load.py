"""The load generator, a process of its own that sends prebuilt requests in a cycle; its last line is JSON.

    python benchmarks/serving/load.py PORT FOLDER --clients 8 --seconds 5
        closed loop: each client waits for its answer, and asks again
    python benchmarks/serving/load.py PORT FOLDER --rate 400 --seconds 5
        open loop: arrivals at a fixed rate, answered or not

It shares its CPUs with the server, so it is light: it uses uvloop and httptools, and keeps no bodies.
Latencies are measured from writing a request to the end of its answer, for requests that are answered with
200. In the open loop it prints `sent` when the last request is sent, and then waits for the answers that are
still missing; `late_p99_ms` says how far it fell behind its own schedule, and with that how far the figures
are the generator's and not the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import uvloop

TIMEOUT_S = 60
NO_ANSWER = 0  # stands in the place of a status for refused or broken connections, and for time-outs


class Answer(NamedTuple):
    """An answer: its status, the seconds that it took, and the time of its end (time.monotonic)."""

    status: int
    seconds: float
    ended: float


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.reusable = True
        self.status: asyncio.Future[int] | None = None

    def ask(self, request: bytes) -> asyncio.Future[int]:
        self.parser = httptools.HttpResponseParser(self)
        self.status = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.status

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_complete(self) -> None:
        self.reusable = self.reusable and self.parser.should_keep_alive()
        self._settle(self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self.reusable = False
        self._settle(NO_ANSWER)

    def _settle(self, status: int) -> None:
        if self.status and not self.status.done():
            self.status.set_result(status)


class Client:
    """A client that keeps its connection, and makes a new one when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: Connection | None = None

    async def ask(self, request: bytes) -> Answer:
        start = time.monotonic()
        status = NO_ANSWER
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self.connection is None or not self.connection.reusable:
                    self.close()
                    _, self.connection = await asyncio.get_running_loop().create_connection(
                        Connection, "127.0.0.1", self.port
                    )
                status = await self.connection.ask(request)
        except (OSError, TimeoutError):
            self.close()
        end = time.monotonic()
        return Answer(status, end - start, end)

    def close(self) -> None:
        if self.connection:
            self.connection.transport.close()
            self.connection = None


async def closed_loop(
    port: int, requests: Iterator[bytes], clients: int, warmup_s: float, seconds: float
) -> dict[str, Any]:
    """Let each client ask again and again, and summarise the answers of the `seconds` after the warm-up."""
    start = time.monotonic() + warmup_s
    end = start + seconds
    answers: list[Answer] = []

    async def ask_until_end() -> None:
        client = Client(port)
        while time.monotonic() < end:
            answer = await client.ask(next(requests))
            if start <= answer.ended <= end:
                answers.append(answer)
            if answer.status == NO_ANSWER:
                await asyncio.sleep(0.01)  # a dead server is no reason to spin
        client.close()

    await asyncio.gather(*(ask_until_end() for _ in range(clients)))
    return summarise(answers, seconds)


async def open_loop(port: int, requests: Iterator[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate * seconds` requests at a fixed rate, each by an idle connection or a new one."""
    idle: list[Client] = []
    answers: list[Answer] = []
    late: list[float] = []
    pending: set[asyncio.Task[None]] = set()

    async def arrive(request: bytes) -> None:
        client = idle.pop() if idle else Client(port)
        answers.append(await client.ask(request))
        idle.append(client)

    start = time.monotonic()
    for index in range(int(rate * seconds)):
        due = start + index / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late.append(time.monotonic() - due)
        task = asyncio.create_task(arrive(next(requests)))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.sleep(0)  # the last one writes its request
    elapsed = time.monotonic() - start
    print("sent", flush=True)
    await asyncio.gather(*pending)
    for client in idle:
        client.close()
    return summarise(answers, elapsed) | {
        "offered_per_s": len(late) / elapsed,
        "late_p99_ms": 1000 * quantile(late, 0.99),
    }


def summarise(answers: list[Answer], seconds: float) -> dict[str, Any]:
    """Return the counts of statuses, and the rate and the latencies of the answers with status 200."""
    accepted = [answer.seconds for answer in answers if answer.status == 200]
    return {
        "statuses": dict(sorted(Counter(answer.status for answer in answers).items())),
        "per_s": len(accepted) / seconds,
        "p50_ms": 1000 * quantile(accepted, 0.5),
        "p99_ms": 1000 * quantile(accepted, 0.99),
    }


def quantile(values: list[float], share: float) -> float:
    """Return a quantile by the nearest rank; NaN if there are no values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path, help="of requests, *.http")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, help="arrivals a second, in place of clients")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=1, help="seconds before, of the closed loop")
    options = parser.parse_args()
    requests = itertools.cycle([path.read_bytes() for path in sorted(options.folder.glob("*.http"))])
    with contextlib.suppress(ValueError, OSError):  # an open loop may need a connection for every arrival
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.rate:
        load = open_loop(options.port, requests, options.rate, options.seconds)
    else:
        load = closed_loop(options.port, requests, options.clients, options.warmup, options.seconds)
    print(json.dumps(uvloop.run(load)))


if __name__ == "__main__":
    main()
