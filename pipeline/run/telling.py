"""What the runner tells of each stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import GateFailedError
from pipeline.files.layout import RunFolder
from pipeline.tracking.current import tell
from pipeline.tracking.events import StageBegun, StageEnded
from pipeline.tracking.results import results_of


@contextmanager
def told(stage: str, run: RunFolder) -> Iterator[None]:
    """Tell the run's tracker that a stage begins and, if the block ends with an error, that it failed.

    Args:
        stage: Name of the stage, which is carried out within the block.
        run: The run's folder.
    """
    kept = run.unfinished(stage)
    resumed = kept.is_dir() and any(path.is_file() for path in kept.rglob("*"))
    start = time.monotonic()
    tell(StageBegun(stage=stage, resumed=resumed))
    try:
        yield
    except BaseException as error:
        if isinstance(error, GateFailedError):  # what was measured is written all the same
            _tell_results(stage, run)
        seconds = round(time.monotonic() - start, 3)
        tell(StageEnded(stage=stage, state="failed", seconds=seconds, error=type(error).__name__))
        raise


def tell_end(stage: str, run: RunFolder, seconds: float, *, skipped: bool) -> None:
    """Tell the run's tracker that a stage is done, or was before, and what it has left.

    Args:
        stage: Name of the stage.
        run: The run's folder.
        seconds: Seconds that it took.
        skipped: Whether it was done before.
    """
    tell(StageEnded(stage=stage, state="skipped" if skipped else "done", seconds=seconds))
    _tell_results(stage, run)


def _tell_results(stage: str, run: RunFolder) -> None:
    for event in results_of(stage, run):
        tell(event)
