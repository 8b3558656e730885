"""The opponents of a run's model and their answers, as the folder ``transfer/`` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.records import Record, VersionedRecord, read_record, write_record
from pipeline.measures.records import Measure

REMEDY = "Fit the opponents again: graft transfer RUN --force"


class OpponentRecord(Record):
    """An opponent.

    Attributes:
        name: The name that people read.
        is_transfer: Whether it uses what was pretrained.
        seconds: Seconds that it took to fit.
        told: One sentence on how it was fitted.
    """

    name: str
    is_transfer: bool
    seconds: float
    told: str


class OpponentsRecord(VersionedRecord):
    """The opponents of a run's model.

    Attributes:
        measure: What the model is compared by.
        opponents: The opponents.
        left_out: A sentence for each opponent that could not be had.
    """

    measure: Measure
    opponents: tuple[OpponentRecord, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """The opponents with their answers to the test split.

    Attributes:
        record: The opponents.
        answers: Class indices of each opponent's answers, int64 of shape (opponents, samples).
        sha256: Content hash of each sample, in hex.
    """

    record: OpponentsRecord
    answers: NDArray[np.int64]
    sha256: tuple[str, ...]


def write_answers(run: RunFolder, answered: Answered) -> None:
    """Write the opponents of a run and their answers in one step."""
    with atomic.folder(run.transfer) as folder:
        write_record(folder / run.opponents.name, answered.record)
        atomic.write_arrays(
            folder / run.opponents_answers.name,
            answers=answered.answers,
            sha256=np.array(answered.sha256, dtype=np.str_),
        )


def read_answers(run: RunFolder, sha256: Sequence[str]) -> Answered:
    """Read the opponents of a run and their answers.

    Args:
        run: The run's folder.
        sha256: Content hash of each sample of the test split, whose order the answers must have.

    Raises:
        GraftError: They cannot be read, or are of other samples.
    """
    path = run.opponents_answers
    record = read_record(run.opponents, OpponentsRecord, REMEDY)
    try:
        answers, hashes = _read(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise GraftError(f"{path}: cannot be read ({error}). {REMEDY}") from error
    if hashes != tuple(sha256) or answers.shape != (len(record.opponents), len(hashes)):
        raise GraftError(f"{path}: holds answers to other samples than those of the test split. {REMEDY}")
    return Answered(record, answers, hashes)


def _read(path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["answers"], tuple(stored["sha256"].tolist())
