"""The command ``graft predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("files", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--text", "texts", multiple=True, help="A text to predict, for a run on texts; may be repeated."
)
@click.option(
    "--artifact",
    help=(
        "A published artifact, such as onnx-int8; by default what `graft benchmark` recommends, or onnx-fp32."
    ),
)
@click.option(
    "--input",
    "table",
    type=click.Path(path_type=Path),
    help="A table (CSV, TSV, JSONL, Parquet) or a folder, every row of which is predicted; with --output.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="The table to write: .csv, .tsv, .jsonl or .parquet."
)
@click.option("--column", help="The column of --input that is predicted; by default one of a usual name.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What answers --input: all CPUs of this machine, or the Ray cluster that RAY_ADDRESS names.",
)
@click.option("--force", is_flag=True, help="Replace --output, or begin an unfinished one anew.")
@json_option
def predict(
    run: Path,
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    artifact: str | None,
    table: Path | None,
    output: Path | None,
    column: str | None,
    engine: Literal["local", "ray"],
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Print the label and probabilities of each of FILES, through the predictor that the service runs.

    RUN is a run's folder or a bundle's. Each of FILES holds one picture or one text. What cannot be predicted
    gets an error line, and the exit code is then 1.

    With --input and --output, a whole table or folder is predicted into a table, each row once: what is
    stopped goes on when it is called again, and a row that cannot be predicted says why. The exit code is
    then 1 only if no row could be predicted.
    """
    if (table is None) != (output is None):
        raise click.UsageError("--input and --output go together.")
    if table is not None and output is not None:
        if files or texts:
            raise click.UsageError("Give files and texts, or --input with --output.")
        from pipeline.run.jobs import predict_job

        result = predict_job(run, table, output, column, artifact, engine, anew=force)
        emit(result, result.to_text(), as_json=as_json)
        if result.is_in_vain:
            raise click.exceptions.Exit(1)
        return
    if column or force or engine != "local":
        raise click.UsageError("--column, --engine and --force go with --input.")
    from pipeline.run.predict import Input, describe_predictions, predict_all

    inputs = [*(Input(file=file) for file in files), *(Input(text=text) for text in texts)]
    if not inputs:
        raise click.UsageError("Name files to predict, or a text with --text.")
    answers = predict_all(run, inputs, artifact)
    emit([answer.to_json() for answer in answers], describe_predictions(answers), as_json=as_json)
    if any(answer.error for answer in answers):
        raise click.exceptions.Exit(1)
