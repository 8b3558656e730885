"""The command ``graft serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.server.process.cli import service_options

if TYPE_CHECKING:
    from serving.server.process.listening import Listening


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@service_options
def serve(run: Path, listening: Listening, workers: int, **options: Any) -> None:  # noqa: ANN401 - of click
    """Start the prediction service of RUN, a run's folder or a bundle's.

    POST /predict takes one picture or text, POST /predict_batch many; / is a page for people; /livez /readyz
    /metrics /docs.json tell about the service. What has no option here is set by environment variables
    (docs/serving.md).
    """
    from pipeline.files.layout import find_bundle
    from serving.server.process.launch import serve as serve_bundle
    from serving.server.settings import read_settings

    serve_bundle(read_settings({**options, "bundle": find_bundle(run).absolute()}), listening, workers)
