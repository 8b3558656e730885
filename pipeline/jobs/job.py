"""A job: it answers a whole table or folder, goes on where it was stopped, and leaves one table."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.records import read_record, write_record
from pipeline.jobs.answers import CHANGED, Core
from pipeline.jobs.locally import answer_locally
from pipeline.jobs.on_ray import answer_on_ray
from pipeline.jobs.opening import open_source
from pipeline.jobs.records import JobRecord, JobResult
from pipeline.jobs.rows import Fragment, cut
from pipeline.jobs.work import Asked, Work, open_work
from serving.model.inputs.kind import FileBody

log = logging.getLogger("graft")
CELLS, FILES = 1024, 64  # rows of a fragment
RECORD, LOCK, ASSEMBLED = "job.json", "lock", "assembled"
_OWN = re.compile(r"job\.json|assembled|fragment-\d+(\.errors)?|\..*\.partial")


def predict_table(asked: Asked) -> JobResult:
    """Answer every row of an input exactly once, and write one table, in the order of the input.

    What is stopped at any moment goes on when the same is asked again.

    Args:
        asked: What is asked for.

    Raises:
        GraftError: The input or the output cannot be used, another command works on the same output, or
            what was begun was begun with another input or model.
        BundleError: The bundle must not be served.
    """
    _require_apart(asked)
    if asked.output.exists() and not asked.anew and not (asked.folder / RECORD).is_file():
        raise _existing(asked)
    work = open_work(asked)
    with _held(asked) as folder:
        core = work.core
        record = _describe(asked, core)
        _begin(asked, folder, record)
        start = time.perf_counter()
        fragments = cut(core.source.places(), record.rows)
        missing = [each for each in fragments if not (folder / each.name).is_file()]
        kept = sum(each.rows for each in fragments) - sum(each.rows for each in missing)
        if kept:
            log.info("predict: %s rows were answered before, and are kept", f"{kept:,}")
        try:
            if asked.engine == "ray":
                answer_on_ray(asked, record.identity, missing)
            else:
                answer_locally(work, missing)
        except KeyboardInterrupt:
            log.warning("predict: stopped. The same command goes on with what is kept in %s", folder)
            raise
        if open_source(asked.source).identity() != record.identity:
            raise GraftError(f"{asked.source}: {CHANGED}")
        errors = _finish(asked, work, fragments)
        rows = sum(each.rows for each in fragments)
        return JobResult(asked.output, rows, errors, kept, time.perf_counter() - start)


def _existing(asked: Asked) -> GraftError:
    return GraftError(f"{asked.output}: exists already. Name another output, or replace it: --force")


def _require_apart(asked: Asked) -> None:
    """Refuse an output that is the input, or would become one of its files."""
    try:
        source, output = asked.source.resolve(), asked.output.resolve()
        is_same = output.exists() and source.exists() and output.samefile(source)
        is_folder = output.is_dir()
    except (OSError, RuntimeError) as error:  # the latter of a link to itself
        reason = getattr(error, "strerror", None) or "it is a link to itself"
        raise GraftError(f"{asked.output}: cannot be written ({reason}). Name another --output.") from error
    if is_same or source in output.parents:
        raise GraftError(f"{asked.output}: lies in the input. Name an --output elsewhere.")
    if is_folder:
        raise GraftError(f"{asked.output}: is a folder. Name the table to write.")


def _describe(asked: Asked, core: Core) -> JobRecord:
    predictor = core.predictor
    holds_files = core.source.holds_paths or isinstance(predictor.kind.body, FileBody)
    return JobRecord(
        input=str(asked.source.absolute()),
        identity=core.source.identity(),
        column=core.source.columns[core.column],
        model=f"{predictor.manifest.name} {predictor.version} {predictor.artifact.sha256}",
        output=asked.output.name,
        rows=FILES if holds_files else CELLS,
    )


def _begin(asked: Asked, folder: Path, record: JobRecord) -> None:
    """Keep the record of a new job, or make sure that the one which was begun is the same."""
    path = folder / RECORD
    if path.is_file() and not asked.anew:
        known = read_record(path, JobRecord, f"Begin anew: --force, which removes {folder}.")
        fields = ("input", "identity", "column", "model", "rows")
        changed = [name for name in fields if getattr(known, name) != getattr(record, name)]
        if changed:
            words = {"identity": "content of the input", "rows": "size of fragments"}
            names = " and ".join(words.get(name, name) for name in changed)
            raise GraftError(
                f"{folder}: was begun with another {names}. Go on with what it was begun with, or begin "
                "anew: --force"
            )
        return
    if asked.output.exists() and not asked.anew:  # another command has finished it meanwhile
        _empty(folder)
        shutil.rmtree(folder)
        raise _existing(asked)
    _empty(folder)
    try:
        write_record(path, record)
    except OSError as error:
        raise GraftError(f"{folder}: cannot be written ({error.strerror}). Name another --output.") from error


def _empty(folder: Path) -> None:
    """Remove what an earlier job has left; what no job has written is nobody's to remove.

    Raises:
        GraftError: Something else lies in the folder.
    """
    left = [path for path in folder.iterdir() if path.name != LOCK]
    foreign = [path for path in left if not _OWN.fullmatch(path.name) or path.is_dir()]
    if foreign:
        raise GraftError(f"{folder}: holds {foreign[0].name}, which is of no job. Name another --output.")
    for path in left:
        path.unlink()


@contextmanager
def _held(asked: Asked) -> Iterator[Path]:
    """Make the folder of what is unfinished and hold its lock."""
    folder = asked.folder
    try:
        shutil.rmtree(_finished(folder), ignore_errors=True)  # which a kill has left
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise GraftError(f"{folder}: cannot be written ({error.strerror}). Name another --output.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who has waited may hold the lock of a folder that was removed meanwhile.
            is_current = (folder / LOCK).stat().st_ino == os.fstat(lock.fileno()).st_ino
        except OSError:
            is_current = False
        if not is_current:
            raise GraftError(f"{asked.output}: another command works on it. Wait for it to end.")
        yield folder


def _finished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.finished")


def _finish(asked: Asked, work: Work, fragments: list[Fragment]) -> int:
    """Put the fragments together in one step, remove them, and return the number of errors in them."""
    folder = asked.folder
    errors = sum(int(path.read_bytes()) for path in folder.glob("*.errors"))
    partial = folder / ASSEMBLED
    try:
        with partial.open("wb") as output:
            work.form.assemble((folder / each.name for each in fragments), output)
            output.flush()
            os.fsync(output.fileno())
        partial.replace(asked.output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise GraftError(
            f"{asked.output}: cannot be put together ({error.strerror or error}). All answers are kept in "
            f"{folder}: make room, and call the same command again."
        ) from error
    # In one step, so that nothing takes the rest of it for a job.
    folder.rename(_finished(folder))
    shutil.rmtree(_finished(folder))
    return errors
