"""``graft predict``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import emit, json_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@json_option
def predict(run: Path, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Print the label and probabilities of each of FILES, through the predictor that the service runs.

    RUN is a run's folder or a bundle's. A file that cannot be predicted gets an error line, and the exit code is then 1.
    """
    from pipeline.predict import describe_predictions, predict_files

    results = predict_files(run, files)
    emit([result.to_json() for result in results], describe_predictions(results), as_json=as_json)
    if any(result.error for result in results):
        raise click.exceptions.Exit(1)
