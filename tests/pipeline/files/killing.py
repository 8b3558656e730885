"""Kill a writer before each of its system calls in turn, and print what is left as JSON.

Run as a process of its own, ``python -m tests.pipeline.files.killing SCENARIO FOLDER``, which has no
threads and may therefore fork.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.files import atomic

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "os.fsync"}
OLD = {"a": "old", "only-old": "old", "in/b": "old"}
NEW = {"a": "new", "in/b": "new", "in/only-new": "new"}
LONG = 100_000


def is_killed(work: Callable[[], object], step: int) -> bool:
    """Do the work in a process that is killed before its system call number ``step``, if it comes to that."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            count_steps(step)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    return status != 0


def count_steps(last: int) -> None:
    count, fsync = itertools.count(1), os.fsync

    def tick(event: str, _: object) -> None:
        if event in STEPS and next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited_fsync(descriptor: int) -> None:  # the one call that raises no audit event of its own
        tick("os.fsync", ())
        fsync(descriptor)

    os.fsync = audited_fsync
    sys.addaudithook(tick)


def write_plainly(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def content(place: Path) -> dict[str, str] | str | None:
    if place.is_file():
        return place.read_text()
    files = {
        path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()
    }
    return files if place.is_dir() else None


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def replace_folder(place: Path) -> None:
    with atomic.folder(place) as partial:
        atomic.write_bytes(partial / "a", b"new")
        atomic.write_bytes(partial / "in" / "b", b"new")
        (partial / "in" / "only-new").write_text("new")  # as a library writes


def fail_to_replace(place: Path) -> None:
    try:
        with atomic.folder(place):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


def recoveries(root: Path) -> Iterator[Path]:
    """Copies of what a killed writer left, after a recovery that was itself killed at each of its steps."""
    for step in itertools.count(1):
        copy = root.with_name(f"{root.name}-{step}")
        shutil.copytree(root, copy)
        done = not is_killed(lambda at=copy: atomic.recover(at), step)
        atomic.recover(copy)
        yield copy
        if done:
            break
    copy = root.with_name(f"{root.name}-by-the-next-writer")
    shutil.copytree(root, copy)
    fail_to_replace(copy / "model")
    yield copy


def kill_everywhere(folder: Path, old: dict[str, str]) -> Iterator[dict[str, object]]:
    seen = set[tuple[str, ...]]()
    for step in itertools.count(1):
        root = folder / str(step)
        root.mkdir(parents=True)
        write_plainly(root / "model", old)
        killed = is_killed(lambda at=root: replace_folder(at / "model"), step)
        left = tuple(names(root))
        report = {"left": left, "is_new": content(root / "model") == NEW}
        copies = [] if left in seen else list(recoveries(root))
        seen.add(left)
        atomic.recover(root)
        results = [{"content": content(each / "model"), "left": names(each)} for each in (root, *copies)]
        yield report | {"results": results}
        if not killed:
            return


def kill_file_writer(folder: Path) -> Iterator[dict[str, object]]:
    for step in itertools.count(1):
        root = folder / str(step)
        root.mkdir(parents=True)
        (root / "file").write_text("old" * LONG)
        killed = is_killed(lambda at=root: atomic.write_bytes(at / "file", b"new" * LONG), step)
        found = content(root / "file")
        atomic.recover(root)
        yield {"content": found[:3], "length": len(found), "left": names(root)}
        if not killed:
            return


SCENARIOS: dict[str, Callable[[Path], Iterator[dict[str, object]]]] = {
    "replace": lambda folder: kill_everywhere(folder, OLD),
    "create": lambda folder: kill_everywhere(folder, {}),
    "file": kill_file_writer,
}

if __name__ == "__main__":
    json.dump(list(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))), sys.stdout)
