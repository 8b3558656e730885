"""The service's command line, ``python -m serving``, and the options that ``graft serve`` shares with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from serving.model.errors import ServingError

F = TypeVar("F", bound=Callable[..., Any])
PORTS, WORKERS, FILE = click.IntRange(1, 65535), click.IntRange(1, 64), click.Path(path_type=Path)
ARTIFACT = (
    "A published artifact, such as onnx-int8; by default what `graft benchmark` recommends, or onnx-fp32."
)
FALLBACK = "The published artifact to serve where that one cannot be run here; without it that is an error."
QUEUE = "Number of requests that may wait, past which 503 is answered. [default: 16 a CPU]"
DEADLINE = "Seconds that a request may wait before 503 is answered. [default: 10]"
OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", default=3000, show_default=True, type=PORTS, help="Port to listen on."),
    click.option(
        "--workers",
        default=1,
        show_default=True,
        type=WORKERS,
        help="Processes that answer; one uses all CPUs.",
    ),
    click.option("--artifact", help=ARTIFACT),
    click.option("--fallback", help=FALLBACK),
    click.option("--max-queue", type=click.IntRange(0), help=QUEUE),
    click.option("--deadline", "deadline_s", type=float, help=DEADLINE),
    click.option(
        "--api-keys-file", type=FILE, help="A file with one key a line; read again when it changes."
    ),
    click.option(
        "--protect-all", is_flag=True, default=None, help="Ask for a key for metrics and documentation too."
    ),
    click.option("--allow-anonymous", is_flag=True, default=None, help="Answer other machines without keys."),
    click.option(
        "--trace",
        is_flag=True,
        default=None,
        help="Send OpenTelemetry traces, by the OTEL_* environment variables.",
    ),
)


def service_options(command: F) -> F:
    """Add the options of a service to a click command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("bundle", type=FILE)
@service_options
def main(bundle: Path, host: str, port: int, workers: int, **given: Any) -> None:  # noqa: ANN401 - click's values
    """Serve a bundle's folder."""
    from serving.server.process.launch import serve
    from serving.server.settings import read_settings

    try:
        serve(read_settings(given | {"bundle": bundle}), host, port, workers)
    except ServingError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(1)
