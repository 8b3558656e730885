"""The work of a job on one fragment: what it takes, and where it writes to."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.jobs.answers import CHANGED, Answered, Core
from pipeline.jobs.formats import Delimited, Format, JsonLines, name_columns
from pipeline.jobs.opening import find_column, open_source
from pipeline.jobs.parquet_format import Parquet
from pipeline.jobs.rows import Fragment, Source
from serving.model.inputs.kind import FileBody
from serving.model.predictor import Predictor, load_predictor
from serving.model.runtimes.memory import KeptMemory
from serving.model.schemas import ErrorDetail

Engine = Literal["local", "ray"]
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Attributes:
        bundle: The bundle's folder.
        source: The table or folder.
        output: The table to write.
        column: Name of the column that is predicted; None for a usual name.
        artifact: Name of a published artifact; None for the one that is served by default.
        engine: What answers: the threads of this process, or the workers of a Ray cluster.
        anew: Whether an output or an unfinished job of that name gives way.
    """

    bundle: Path
    source: Path
    output: Path
    column: str | None = None
    artifact: str | None = None
    engine: Engine = "local"
    anew: bool = False

    @property
    def folder(self) -> Path:
        """The folder of what is unfinished, beside the output."""
        return self.output.with_name(f"{self.output.name}{UNFINISHED}")


@dataclass(frozen=True)
class Work:
    """What a process needs to answer fragments of a job.

    Attributes:
        core: What answers.
        form: The storage of the output.
        folder: The folder that fragments are written to.
        memory: What the process holds of memory beyond what it needs.
    """

    core: Core
    form: Format
    folder: Path
    memory: KeptMemory = field(default_factory=KeptMemory)

    def do(self, fragment: Fragment) -> int:
        """Answer a fragment and write it in one step, and return the number of errors in it.

        Doing it again gives the same file. The number of errors is a file of its own, written first.

        Args:
            fragment: The fragment.

        Raises:
            GraftError: It cannot be written; all that was written before stays.
        """
        answers = self._answer(fragment)
        errors = sum(isinstance(each.answer, ErrorDetail) for each in answers)
        try:
            if errors:
                atomic.write_bytes(self.folder / f"{fragment.name}.errors", str(errors).encode())
            atomic.write_bytes(self.folder / fragment.name, self.form.encode(fragment, answers))
        except OSError as error:
            raise explain(error, self.folder, fragment) from error
        self.memory.refresh()
        return errors

    def _answer(self, fragment: Fragment) -> list[Answered]:
        try:
            return self.core.answer(fragment)
        except (OSError, ValueError) as error:  # of pyarrow, too, whose errors are these
            reason = str(error).partition("\n")[0]
            raise GraftError(
                f"{self.core.source.path}: row {fragment.start + 1:,} cannot be read ({reason})."
            ) from error


def explain(error: OSError, folder: Path, fragment: Fragment) -> GraftError:
    """Return the error for rows that cannot be written.

    Args:
        error: The system's error.
        folder: The folder of what is unfinished.
        fragment: The fragment that was being written.
    """
    reason = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror or error
    return GraftError(
        f"{folder}: row {fragment.start + 1:,} and those after it cannot be written ({reason}). What was "
        "answered is kept: make room, and call the same command again to go on."
    )


def open_work(asked: Asked, identity: str | None = None) -> Work:
    """Open the input and load the model.

    Args:
        asked: What is asked for.
        identity: What the input must be known by; None, the default, for whatever it is.

    Raises:
        GraftError: The input cannot be read, has no such column, or is another one; or the output's ending is
            unknown.
        BundleError: The bundle must not be served.
    """
    source = open_source(asked.source)
    if identity is not None and source.identity() != identity:
        raise GraftError(f"{asked.source}: {CHANGED}")
    # The fragments keep all CPUs busy, so that a run of its own needs no threads.
    predictor = load_predictor(asked.bundle, artifact=asked.artifact, threads=1)
    column = find_column(source, asked.column, of_files=isinstance(predictor.kind.body, FileBody))
    form = find_format(asked.output, source, predictor)
    work = Work(Core(source, column, predictor), form, asked.folder)
    work.memory.settle()
    return work


def find_format(output: Path, source: Source, predictor: Predictor) -> Format:
    """Return the storage that an output's ending names.

    Args:
        output: The output.
        source: The input.
        predictor: The model.

    Raises:
        GraftError: It is unknown.
    """
    columns = name_columns(source, predictor.manifest.labels)
    suffix = output.suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        return JsonLines(columns)
    if suffix in {".csv", ".tsv"}:
        return Delimited(columns, "," if suffix == ".csv" else "\t")
    if suffix == ".parquet":
        return Parquet(columns, source)
    raise GraftError(f"{output}: write to a table whose name ends in one of {', '.join(SUFFIXES)}.")
