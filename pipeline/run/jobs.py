"""A job on a run's bundle."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.files.layout import find_bundle
from pipeline.jobs.job import predict_table
from pipeline.jobs.records import JobResult
from pipeline.jobs.work import Asked, Engine


def predict_job(
    run: Path,
    source: Path,
    output: Path,
    column: str | None,
    artifact: str | None,
    engine: Engine,
    *,
    anew: bool = False,
) -> JobResult:
    """Predict every row of a table or folder; see :func:`pipeline.jobs.job.predict_table`.

    Args:
        run: A run's folder, or a bundle's.
        source: The table or folder.
        output: The table to write.
        column: Name of the column that is predicted; None for a usual name.
        artifact: Name of a published artifact; None for the one that is served by default.
        engine: What answers.
        anew: Whether an output or an unfinished job of that name gives way.

    Raises:
        GraftError: The input or the output cannot be used.
        BundleError: The bundle must not be served.
    """
    # Workers of a cluster may have another working folder. What a link leads to is written, not the link.
    target = Path(os.path.realpath(output)) if output.is_symlink() else output.absolute()
    places = (find_bundle(run).absolute(), source.absolute(), target)
    return predict_table(Asked(*places, column, artifact, engine, anew))
