"""The service's command line, ``python -m serving``, and the options that ``graft serve`` shares with it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from serving.model.errors import ServingError

if TYPE_CHECKING:
    from serving.server.process.listening import Listening

F = TypeVar("F", bound=Callable[..., Any])
PORTS, WORKERS, FILE = click.IntRange(1, 65535), click.IntRange(1, 64), click.Path(path_type=Path)
ARTIFACT = (
    "A published artifact, such as onnx-int8; by default what `graft benchmark` recommends, or onnx-fp32."
)
FALLBACK = "The published artifact to serve where that one cannot be run here; without it that is an error."
TRUSTED_KEYS = "A PEM file of public keys and certificates; a bundle that none of them signed is refused."
QUEUE = "Number of requests that may wait, past which 503 is answered. [default: 16 a CPU]"
DEADLINE = "Seconds that a request may wait before 503 is answered. [default: 10]"
OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option(
        "--port",
        default=3000,
        envvar="PORT",
        show_default=True,
        show_envvar=True,
        type=PORTS,
        help="Port to listen on.",
    ),
    click.option("--uds", type=FILE, help="A Unix socket to listen on, instead of an address and port."),
    click.option("--tls-cert", type=FILE, help="A PEM file with a certificate and its chain, for HTTPS."),
    click.option("--tls-key", type=FILE, help="A PEM file with the certificate's private key."),
    click.option(
        "--workers",
        default=1,
        show_default=True,
        type=WORKERS,
        help="Processes that answer; one uses all CPUs.",
    ),
    click.option("--artifact", help=ARTIFACT),
    click.option("--fallback", help=FALLBACK),
    click.option("--trusted-keys", type=FILE, help=TRUSTED_KEYS),
    click.option("--max-queue", type=click.IntRange(0), help=QUEUE),
    click.option("--deadline", "deadline_s", type=float, help=DEADLINE),
    click.option(
        "--keep-alive", "keep_alive_s", type=int, help="Seconds that an idle connection stays. [default: 75]"
    ),
    click.option("--grpc-port", type=PORTS, help="Port on which gRPC is answered too. [default: none]"),
    click.option("--root-path", help="The path below which a proxy offers the service."),
    click.option(
        "--api-keys-file", type=FILE, help="A file with one key a line; read again when it changes."
    ),
    click.option(
        "--protect-all", is_flag=True, default=None, help="Ask for a key for metrics and documentation too."
    ),
    click.option("--allow-anonymous", is_flag=True, default=None, help="Answer other machines without keys."),
    click.option(
        "--allow-origin",
        metavar="ORIGIN",
        multiple=True,
        # None, and no empty list, leaves the setting to the environment.
        callback=lambda _context, _option, values: values or None,
        help="Let pages from ORIGIN, such as https://app.example.org, call from a browser; may be repeated.",
    ),
    click.option(
        "--trace",
        is_flag=True,
        default=None,
        help="Send OpenTelemetry traces, by the OTEL_* environment variables.",
    ),
)


def service_options(command: F) -> F:
    """Add the options of a service to a click command, which gets the first as `listening` and `workers`."""

    @functools.wraps(command)
    def call(
        host: str, port: int, uds: Path | None, tls_cert: Path | None, tls_key: Path | None, **options: object
    ) -> object:
        from serving.server.process.listening import Listening

        return command(listening=Listening(host, port, uds, tls_cert, tls_key), **options)

    decorated = call
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return cast("F", decorated)


@click.command()
@click.argument("bundle", type=FILE)
@service_options
def main(bundle: Path, listening: Listening, workers: int, **options: Any) -> None:  # noqa: ANN401 - of click
    """Serve a bundle's folder."""
    from serving.server.process.launch import serve
    from serving.server.settings import read_settings

    try:
        serve(read_settings(options | {"bundle": bundle}), listening, workers)
    except ServingError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(1)
