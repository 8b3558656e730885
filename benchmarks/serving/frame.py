"""Measure what the frame of the service costs a request: CPU time of an echo of 20 kB, without a network.

    python benchmarks/serving/frame.py RUN [--requests 2000] [--rounds 9] [--bytes 20000] [--json FILE]

The echo stands in the frame as `/predict` does: observing with its metrics and its line of the log, limits on
the body, the guard, Starlette's routing and exceptions. Beside it stands the same echo in a bare Starlette
application, which is the floor. Rounds alternate between them; ratios are formed within a round. Figures are
medians with [least, most]. The log goes to a file that nobody reads.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

sys.path.append(str(Path(__file__).parents[1]))
from rounds import spread

from serving.server.app.build import frame
from serving.server.app.components import open_components
from serving.server.http.endpoint import Endpoint
from serving.server.observing.logs import configure_logging
from serving.server.settings import Settings

GOAL_MS = 0.20
PATH, BINARY = "/predict", "application/octet-stream"
WARM = 500  # number of requests before the first measured one


async def echo(request: Request) -> Response:
    """Answer a request with its own body."""
    return Response(await request.body(), media_type=BINARY)


def make_scope(size: int) -> dict[str, Any]:
    """Return the scope of a request as uvicorn makes it.

    Args:
        size: Length of the body, in bytes.
    """
    headers = {
        "host": "127.0.0.1:3000",
        "user-agent": "benchmark",
        "content-type": BINARY,
        "content-length": str(size),
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 3000),
    }


async def ask(app: Callable[..., Awaitable[None]], body: bytes, requests: int) -> float:
    """Return the CPU milliseconds that this process takes for a request."""
    sent = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))

    scope = make_scope(len(body))
    before = time.process_time()
    for _ in range(requests):
        await app(scope.copy(), receive, send)
    took_s = time.process_time() - before
    assert sent == requests * len(body), "not everything came back"
    return 1000 * took_s / requests


async def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Measure the CPU milliseconds of a request in each round, in the frame and in a bare application."""
    parts = open_components(Settings(bundle=options.run / "bundle"))
    endpoint = Endpoint("POST", PATH, "predict", echo, "model", "Echo.", BINARY)
    bare = Starlette(routes=[Route(PATH, echo, methods=["POST"])])
    apps = {"the frame": frame(parts, [endpoint]), "bare Starlette": bare}
    body, times_ms = os.urandom(options.bytes), {name: [] for name in apps}
    async with parts.running():
        for app in apps.values():
            await ask(app, body, WARM)
        for _ in range(options.rounds):
            for name, app in apps.items():
                times_ms[name].append(await ask(app, body, options.requests))
    return times_ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--requests", type=int, default=2000, help="of each application in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bytes", type=int, default=20_000, help="of a body")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    unread = Path(os.devnull).open("w")  # noqa: SIM115 - the log is written to it until the process ends
    with contextlib.redirect_stderr(unread):
        configure_logging()
    times_ms = asyncio.run(measure(options))
    for name, values in times_ms.items():
        print(f"{name:<16} CPU ms a request   {spread(values, 3)}")
    ratios = [framed / bare for framed, bare in zip(*times_ms.values(), strict=True)]
    print(f"{'the frame / bare':<16} {'':<18} {spread(ratios)}")
    print(f"goal: at most {GOAL_MS} ms")
    if options.json:
        options.json.write_text(json.dumps(times_ms, indent=1))


if __name__ == "__main__":
    main()
