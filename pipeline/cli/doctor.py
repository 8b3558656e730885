"""``graft doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline.cli.output import emit, json_option


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Say what this machine has (devices, providers that really load, extras), and what `auto` would choose."""
    from pipeline.machine.doctor import examine

    diagnosis = examine()
    emit(asdict(diagnosis), diagnosis.to_text(), as_json=as_json)
