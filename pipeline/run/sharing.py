"""The data of a run, shared by commands that work side by side: each holds the run against changes."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from pipeline.run.runner import BusyError, Run, done_stages, run_stage

log = logging.getLogger("graft")
# Two that begin at once may be in each other's way, but not for long.
POLL_S, MOST_POLLS = 0.1, 100


@contextmanager
def sharing_data(run: Run) -> Iterator[None]:
    """Carry out the stage ``data`` if it is not done, and keep the run as it is within the block.

    Others may share it meanwhile. A command that would change the run is refused until all have ended.

    Args:
        run: The run.

    Raises:
        GraftError: The data cannot be had, or they are not done and others share the run as it is.
    """
    run.folder.lock.parent.mkdir(parents=True, exist_ok=True)
    for poll in range(MOST_POLLS):
        with run.folder.lock.open("a") as file:
            _wait_for(file, run)
            if "data" in done_stages(run):
                yield
                return
        try:
            run_stage("data", run)
        except BusyError:
            if poll + 1 == MOST_POLLS:
                raise
            time.sleep(POLL_S)


def _wait_for(lock: TextIOWrapper, run: Run) -> None:
    """Share a lock, as soon as a command that has it alone has ended."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another command is working on this run; waiting for it", run.folder.root)
        fcntl.flock(lock, fcntl.LOCK_SH)
