"""The command ``graft budget``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--osv",
    "dumps",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DUMP",
    help="Known vulnerabilities as OSV offers them: a zip file, or a folder; may be repeated.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write the figures as JUnit's XML, too.")
@data_root_option
@json_option
def budget(
    run: Path, dumps: tuple[Path, ...], junit: Path | None, data_root: Path | None, *, as_json: bool
) -> None:
    """Measure the container of RUN against the limits of its recipe.

    Size, packages, known vulnerabilities, cold start, memory and the 99th percentile of one prediction's time
    with one CPU, and what must not be in it. The image is written first, in any case, to package/oci in the
    run's folder. Ends with exit code 3 where a figure is above its limit, or where the container fails.
    """
    from pipeline.budget.measuring import measure_budget
    from pipeline.run.runner import open_run

    opened = open_run(run, data_root=data_root)
    record = measure_budget(opened, dumps, junit)
    emit(record, record.to_text(), as_json=as_json)
    record.require_passed(opened.folder.root)
