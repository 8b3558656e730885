"""The command ``graft init``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("recipe.yaml"),
    show_default=True,
    help="The recipe to write.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--modality", metavar="KIND", help="The kind of input, such as image or text.")
@click.option("--label", metavar="COLUMN", help="The table's column with the labels.")
@click.option("--text", metavar="COLUMN", help="The table's column with the texts.")
@click.option("--path", metavar="COLUMN", help="The table's column with the paths of files.")
@click.option("--split", metavar="COLUMN", help="The table's column with the splits.")
@click.option("--separator", metavar="CHARACTER", help="What stands between the values of the table.")
@click.option("--encoding", metavar="NAME", help="Encoding of the table or of files of text, such as cp1252.")
@click.option("--layout", metavar="PATTERN", help="Where paths say it, such as '{split}/{label}/**'.")
@click.option("--backbone", metavar="NAME", help="The pretrained network.")
@click.option("--weights", metavar="PLACE", help="Its weights: hub, a file or a folder.")
@json_option
def init(source: str, output: Path, *, force: bool, as_json: bool, **said: str | None) -> None:
    """Look at SOURCE, and write a commented recipe; what no option says is found in the data.

    SOURCE is a folder of class folders or of splits, a table (CSV, TSV, JSON Lines, Parquet, Excel) of texts
    or of paths, a saved data set of Hugging Face, or hub:NAME.
    """
    from pipeline.data.draft.look import Wishes
    from pipeline.data.draft.recipe import write_recipe

    draft = write_recipe(source, output, Wishes(**said), force=force)
    emit(draft.to_json(), draft.to_text(), as_json=as_json)
