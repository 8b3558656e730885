"""The command ``graft search``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@click.option("--trials", type=click.IntRange(min=1), help="Number of trials, instead of the recipe's.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Minutes after which no trial begins any more.",
)
@click.option(
    "--storage",
    metavar="URL",
    envvar="GRAFT_SEARCH_STORAGE",
    help="Where the trials are kept: postgresql://USER@HOST/DATABASE for several machines. The password is"
    " taken from PGPASSWORD.",
)
@click.option("--study", metavar="NAME", help="Name under which the trials are kept.")
@click.option("--yes", is_flag=True, help="Search a grid of more than a million points.")
@data_root_option
@json_option
def search(
    target: Path,
    folder: Path | None,
    trials: int | None,
    minutes: float | None,
    storage: str | None,
    study: str | None,
    data_root: Path | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Search for the values of a recipe's fields that do best on validation.

    TARGET is a recipe, or a run's folder. The recipe's section `search` says which fields, by which method
    and how long; without it, each way to train has a space of its own. The test split is never read. The same
    command goes on where a search was cut off, and several of them share one with --storage. The best trial
    is left as search/best.yaml in the run's folder, which `graft run` takes, beside a page.
    """
    from pipeline.search.search import Changes
    from pipeline.search.search import search as carry_out

    found = carry_out(target, folder, data_root, Changes(trials, minutes, storage, study, agreed=yes))
    emit(found.to_json(), found.to_text(), as_json=as_json)
