"""The command ``graft evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import emit, json_option

SPLITS = ("train", "validation", "test", "calibration")


def _floors(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """Parse ``METRIC=VALUE`` of each option."""
    floors = {}
    for value in values:
        name, number = value.partition("=")[::2]
        try:
            floors[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not METRIC=VALUE, such as accuracy=0.9.") from error
    if floors:
        from pipeline.run.score import METRICS

        if unknown := set(floors) - set(METRICS):
            raise click.BadParameter(
                f"no such metric: {', '.join(sorted(unknown))}. Known are {', '.join(METRICS)}."
            )
    return floors


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@click.option("--force", is_flag=True, help="Redo the stage even if it is done.")
@click.option(
    "--data", "place", help="Labelled data to score instead: a folder, a table, or a recipe that names them."
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="With --data: the one split to score, where the data name splits; by default all samples.",
)
@click.option(
    "--leave-out-unknown",
    is_flag=True,
    help="With --data: leave out samples with labels that the model does not know, instead of refusing them.",
)
@click.option("--report", type=click.Path(path_type=Path), help="With --data: write a page to this file.")
@click.option(
    "--require",
    multiple=True,
    metavar="METRIC=VALUE",
    callback=_floors,
    help="With --data: end with exit code 3 if the metric is below the value; may be repeated.",
)
@json_option
def evaluate(
    target: Path,
    folder: Path | None,
    place: str | None,
    split: str | None,
    report: Path | None,
    require: dict[str, float],
    *,
    force: bool,
    leave_out_unknown: bool,
    as_json: bool,
) -> None:
    """Measure the checkpoint on the test split, and write metrics and a report.

    TARGET is a run's folder, or a recipe, whose run is then in models/NAME. With --data the artifact that a
    run's folder or a bundle's folder serves by default is scored on those labelled data; nothing in the
    folder is written.
    """
    if place is not None and (folder is not None or force):
        raise click.UsageError("--run and --force go with a stage, which --data does not carry out.")
    if place is None and (split or report or require or leave_out_unknown):
        raise click.UsageError("--split, --leave-out-unknown, --report and --require go with --data.")
    if place is not None:
        from pipeline.run.score import Wanted, score_place

        outcome = score_place(target, place, Wanted(split, leave_out_unknown, report))
        emit(outcome, outcome.to_text(), as_json=as_json)
        outcome.require(require)
        return
    from pipeline.run.runner import done_stages, open_run, run_stage
    from pipeline.run.summary import summarise_run

    opened = open_run(target, folder)
    summary = summarise_run(opened.folder, [run_stage("evaluate", opened, force=force)], done_stages(opened))
    emit(summary, summary.to_text(), as_json=as_json)
