"""The command ``graft sign``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    help="A PEM file with the private key, of the curve P-256, P-384 or P-521.",
)
@click.option(
    "--certificate",
    "certificates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A PEM file with the key's certificate, and then those above it; may be repeated.",
)
@json_option
def sign(target: Path, key: Path, certificates: tuple[Path, ...], *, as_json: bool) -> None:
    """Sign a proven bundle with its receipts, or an image, in the OpenSSF Model Signing format.

    TARGET is a run's folder, a bundle's, or an image's in the OCI layout. Its signature is model.sig in it.
    A key's password is taken from GRAFT_KEY_PASSWORD, or asked for.
    """
    from pipeline.run.sign import sign as sign_target

    signed = sign_target(target, key, certificates, _ask if sys.stdin.isatty() else None)
    emit(signed, signed.to_text(), as_json=as_json)


def _ask() -> str:
    password: str = click.prompt("Password of the key", hide_input=True, err=True)
    return password
