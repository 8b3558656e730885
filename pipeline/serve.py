"""A run's bundle as a service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.layout import RunFolder
from serving.server.process.launch import serve
from serving.server.process.listening import Listening
from serving.server.settings import read_settings


def serve_run(run: Path, listening: Listening, workers: int, given: Mapping[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT; see :func:`serving.server.process.launch.serve`.

    Args:
        run: A run's folder, or a bundle's.
        listening: Where it listens.
        workers: Processes that answer.
        given: Settings of the service, None for those of the environment.
    """
    folder = RunFolder(run).bundle
    serve(read_settings({**given, "bundle": (folder if folder.is_dir() else run).absolute()}), listening, workers)
