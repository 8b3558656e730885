"""The place of a run's data: the folder that the names of its samples count from, and what the run stores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from serving.model.files import hash_file

WRITERS = 8  # a write waits for the disk and not for a processor
WRITTEN_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where the samples of a run are read.

    Attributes:
        run: The run's folder.
        root: Folder that the names of samples count from; None where the run does not say.
        stores: Whether the run holds contents of samples itself.
    """

    run: RunFolder
    root: Path | None
    stores: bool

    def read(self, source: str, sha256: str) -> bytes:
        """Return the content of a sample.

        Args:
            source: The sample's name, relative to the root.
            sha256: SHA-256, in hexadecimal, of its content, under which the run may store it.

        Raises:
            DataError: It cannot be read; the message says where it was looked for, and how to name another
                place.
        """
        stored = self.run.stored(sha256)
        if self.stores and stored.is_file():
            return stored.read_bytes()
        if self.root is None and not Path(source).is_absolute():
            raise DataError(
                f"{source}: cannot be read, since {self.run.root} does not say which folder its data are in. "
                "Name it: --data-root DIR"
            )
        try:
            return Path(self.root or "", source).read_bytes()
        except OSError as error:
            raise DataError(
                f"{source}: cannot be read ({error.strerror}). The run {self.run.root} has its data in "
                f"{self.root}. Put the file back, or name the folder that they are in now: --data-root DIR"
            ) from error


def read_place(run: RunFolder) -> Place:
    """Return where the samples of a run are read, as the run says."""
    try:
        root = os.fsdecode(run.data_root.read_bytes().removesuffix(b"\n"))
    except FileNotFoundError:
        root = ""
    return Place(run, Path(root) if root else None, run.store.is_dir())


def write_root(run: RunFolder, root: Path) -> None:
    """Note in a run the folder that the names of its samples count from."""
    content = os.fsencode(root.absolute()) + b"\n"
    if not run.data_root.is_file() or run.data_root.read_bytes() != content:
        atomic.write_bytes(run.data_root, content)


def store_contents(run: RunFolder, contents: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
    """Keep the contents of samples in the run, and no others, so that it can be moved without its data.

    Args:
        run: The run's folder.
        contents: SHA-256, in hexadecimal, of each content, and what returns it.

    Raises:
        OSError: A content cannot be written.
        DataError: A content is not the one that was hashed.
    """
    kept, remaining = set[str](), iter(contents)
    with ThreadPoolExecutor(WRITERS) as pool:
        while batch := list(islice(remaining, WRITTEN_AT_ONCE)):
            list(pool.map(lambda each: _store(run.stored(each[0]), *each), batch))
            kept.update(sha256 for sha256, _ in batch)
    for path in run.store.glob("*/*"):
        if path.name not in kept:
            path.unlink()


def _store(path: Path, sha256: str, load: Callable[[], bytes]) -> None:
    if path.is_file() and hash_file(path) == sha256:
        return
    content = load()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"A sample changed while it was stored as {path}. Run again: graft run RECIPE")
    atomic.write_bytes(path, content)
