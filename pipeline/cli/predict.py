"""The command ``graft predict``."""

from __future__ import annotations

from pathlib import Path

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
@json_option
def predict(
    run: Path, files: tuple[Path, ...], texts: tuple[str, ...], artifact: str | None, *, as_json: bool
) -> None:
    """Print the label and probabilities of each of FILES, through the predictor that the service runs.

    RUN is a run's folder or a bundle's. Each of FILES holds one picture or one text. What cannot be predicted
    gets an error line, and the exit code is then 1.
    """
    from pipeline.run.predict import Input, describe_predictions, predict_all

    inputs = [*(Input(file=file) for file in files), *(Input(text=text) for text in texts)]
    if not inputs:
        raise click.UsageError("Name files to predict, or a text with --text.")
    answers = predict_all(run, inputs, artifact)
    emit([answer.to_json() for answer in answers], describe_predictions(answers), as_json=as_json)
    if any(answer.error for answer in answers):
        raise click.exceptions.Exit(1)
