"""The command ``graft export``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@click.option(
    "--formats",
    help="Which artifacts to make, such as onnx-fp16,onnx-int8; by default the recipe's export.formats.",
)
@click.option("--force", is_flag=True, help="Redo the stage even if it is done.")
@data_root_option
@json_option
def export(
    target: Path,
    folder: Path | None,
    formats: str | None,
    data_root: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write the fp32 ONNX file and those of further formats into export/, to be proven by `graft verify`.

    TARGET is a run's folder, or a recipe, whose run is then in models/NAME. --formats is kept in the run's
    recipe.
    """
    from pipeline.run.runner import done_stages, open_run, run_stage, with_formats
    from pipeline.run.summary import summarise_run

    opened = open_run(target, folder, data_root)
    if formats is not None:
        opened = with_formats(opened, [name.strip() for name in formats.split(",")])
    summary = summarise_run(opened.folder, [run_stage("export", opened, force=force)], done_stages(opened))
    emit(summary, summary.to_text(), as_json=as_json)
