"""The command ``graft init``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("recipe.yaml"),
    show_default=True,
    help="The recipe to write.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@json_option
def init(source: Path, output: Path, *, force: bool, as_json: bool) -> None:
    """Look at SOURCE, a folder with one subfolder a class or a CSV file, of pictures or of texts,
    and write a commented recipe.
    """  # noqa: D205 - the help text, which click wraps anew
    from pipeline.data.draft import write_recipe

    draft = write_recipe(source, output, force=force)
    emit(draft.to_json(), draft.to_text(), as_json=as_json)
