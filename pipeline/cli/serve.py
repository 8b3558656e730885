"""``graft serve``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--artifact", help="A published artifact, such as onnx-int8; by default what `graft benchmark` recommends, or onnx-fp32.")
@click.option(
    "--fallback", help="The published artifact to serve where that one cannot be run here, such as onnx-fp32; without it that is an error."
)
def serve(run: Path, host: str, port: int, artifact: str | None, fallback: str | None) -> None:
    """Start the prediction service of RUN, a run's folder or a bundle's.

    POST /predict takes one picture or text, POST /predict_batch many; /livez /readyz /metrics /docs.json tell about the service.
    """
    from pipeline.serve import exec_service

    exec_service(run, host, port, artifact, fallback)
