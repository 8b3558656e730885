"""The file ``history.jsonl``: one JSON object a line, appended as things happen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import GraftError
from pipeline.tracking.events import EpochJudged, Evaluated, Moment, Packaged, StageBegun, Trained, Verdict

Repeatable = EpochJudged | Trained | Evaluated | Verdict | Packaged


def read_moments(path: Path) -> tuple[Moment, ...]:
    """Read the history of a run.

    A last line that a killed process left torn is skipped.

    Args:
        path: The file; one that does not exist holds nothing.

    Raises:
        GraftError: The file cannot be read; or another line than the last one is damaged, or of a kind that
            this version of Graft does not know.
    """
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise GraftError(f"{path}: cannot be read ({error.strerror or error}). {_REMEDY}") from error
    return tuple(_parse(line, f"{path}:{number}") for number, line in enumerate(whole.splitlines(), 1))


_REMEDY = "Move the file away, and a new one begins; nothing of the run's results depends on it"


def _parse(line: bytes, place: str) -> Moment:
    try:
        return Moment.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise GraftError(f"{place}: is damaged ({where}: {fault['msg']}). {_REMEDY}") from error


def latest_training(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """Return the moments since the run's training last began anew; all of them where it never did.

    Args:
        moments: The run's history, the oldest first.
    """
    starts = [
        place
        for place, moment in enumerate(moments)
        if isinstance(moment.event, StageBegun) and moment.event.is_new_training
    ]
    return tuple(moments[starts[-1] :]) if starts else tuple(moments)


class HistoryFile:
    """The tracker that appends to ``history.jsonl``.

    An epoch that is trained again with the same figures, because a process was killed before it kept a
    checkpoint, is not written twice, nor is a result that is still what the file says.

    Args:
        path: The file.

    Attributes:
        moments: All that the file holds, the oldest first.

    Raises:
        GraftError: The file is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moments = list(read_moments(path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._mend()
        except OSError as error:
            raise GraftError(
                f"{path}: cannot be written ({error.strerror or error}). Free some space there, or give"
                " yourself the right to write"
            ) from error

    def log(self, moment: Moment) -> None:
        """Append a moment, unless the file holds it.

        Raises:
            OSError: The file cannot be written, such as on a full disk. The next line begins cleanly.
        """
        if self._is_known(moment):
            return
        line = (moment.model_dump_json() + "\n").encode()
        self._mend()
        with self.path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(f"{self.path}: only a part of a line could be written; is the disk full?")
            os.fsync(file.fileno())
        self.moments.append(moment)

    def close(self) -> None:
        """Do nothing: each line was written when it was told."""

    def _mend(self) -> None:
        """Cut off what a killed process left of a line."""
        with self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    def _is_known(self, moment: Moment) -> bool:
        """Return whether the last event of its key in the latest training is the same."""
        event = moment.event
        if not isinstance(event, Repeatable):
            return False
        since = [each.event for each in latest_training(self.moments)]
        same = [each for each in since if isinstance(each, Repeatable) and _key(each) == _key(event)]
        return bool(same) and _bare(same[-1]) == _bare(event)


def _key(event: Repeatable) -> tuple[object, ...]:
    """Return what tells an event from others of its kind."""
    if isinstance(event, EpochJudged):
        return event.kind, event.training, event.figures.epoch
    return event.kind, event.artifact if isinstance(event, Verdict) else None


def _bare(event: Repeatable) -> Repeatable:
    """Return an event without the speed of its epoch, which is never the same twice."""
    if isinstance(event, EpochJudged):
        return event.model_copy(update={"figures": event.figures.model_copy(update={"samples_per_s": None})})
    return event
