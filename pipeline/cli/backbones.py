"""The command ``graft backbones``."""

from __future__ import annotations

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.option("--find", metavar="PART", help="A part of the name; those to be downloaded are listed, too.")
@json_option
def backbones(find: str | None, *, as_json: bool) -> None:
    """List the pretrained backbones that can be used here without a network, and the line of a recipe that
    uses each: weights of installed packages, and those in the caches of Hugging Face and PyTorch Hub.

    Nothing is downloaded.
    """  # noqa: D205 - the help text, which click wraps anew
    from pipeline.run.backbones import list_offers

    offers = list_offers(find)
    emit(offers, offers.to_text(find), as_json=as_json)
