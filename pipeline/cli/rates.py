"""The command ``graft rates``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@data_root_option
@json_option
def rates(target: Path, folder: Path | None, data_root: Path | None, *, as_json: bool) -> None:
    """Look for a learning rate: train a copy for 100 steps at most while the rate rises, and plot the loss.

    TARGET is a run's folder, or a recipe, whose run is then in models/NAME. The samples are read and split
    first, if they are not yet. Nothing of it is left in a training after it; the plot is left in rates/ of
    the run.
    """
    from pipeline.run.rates import find_learning_rate

    found = find_learning_rate(target, folder, data_root)
    emit(found.to_json(), found.to_text(), as_json=as_json)
