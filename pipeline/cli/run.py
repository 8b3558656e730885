"""The command ``graft run``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder; by default models/NAME."
)
@click.option("--force", is_flag=True, help="Redo stages that are done.")
@data_root_option
@json_option
def run(recipe: Path, folder: Path | None, data_root: Path | None, *, force: bool, as_json: bool) -> None:
    """Carry out RECIPE: data, finetune, transfer, evaluate, export, verify, package.

    Stages whose inputs are unchanged are skipped. RECIPE may also be the folder of a run, to go on with it.
    """
    from pipeline.machine.launch import launched
    from pipeline.run.runner import done_stages, open_run, run_all
    from pipeline.run.summary import summarise_run

    opened = open_run(recipe, folder, data_root)
    results = run_all(opened, force=force)
    if launched().is_helper:
        return
    summary = summarise_run(opened.folder, results, done_stages(opened))
    emit(summary, summary.to_text(), as_json=as_json)
