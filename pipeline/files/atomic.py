"""Write files and folders so that nobody ever finds half of one, however the process that writes it ends.

A file is written beside its place, as ``.NAME.HEX.partial``, and renamed over it, which is a single step. A
folder cannot be renamed over another that has files in it. :func:`folder` therefore takes four steps:

1. Everything is written to ``.NAME.partial``, and flushed to the disk.
2. ``.NAME.partial`` is renamed to ``.NAME.ready``. From this step on the new folder counts, and before it the
   old one.
3. The old folder is renamed to ``.NAME.old``, and ``.NAME.ready`` to ``NAME``.
4. ``.NAME.old`` is removed.

Whichever step a process is killed at, :func:`recover` tells from the names what is left to do.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy is loaded only by those who write arrays
    from numpy.typing import NDArray

PARTIAL = ".partial"
READY = ".ready"
OLD = ".old"


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the content of a file in one step.

    Several processes may write the same file. Each writes all of it, and the last one's content stays.

    Args:
        path: The file. The folders above it are made if they are missing.
        data: Its new content.

    Raises:
        OSError: It cannot be written, such as on a full disk. The error names the file, whose old content
            stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Containers that share a cache have the same process ids, so that only chance tells writers apart.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON document in one step, as :func:`write_bytes` does.

    Raises:
        ValueError: It holds a number that JSON does not know, such as NaN.
        OSError: It cannot be written.
    """
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write named arrays as one ``.npz`` file in one step, as :func:`write_bytes` does.

    Raises:
        ValueError: An array holds Python objects.
        OSError: It cannot be written.
    """
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of another when the block ends without an error.

    Only one process at a time may write a folder. Others may read it meanwhile: between the two renames of
    step 3, for some microseconds, they find none.

    Linux could exchange two folders in one step (``renameat2``), but only through ctypes, and not on every
    file system, so that both ways would have to be kept and tested. Readers would gain little: one that opens
    several files may in either case meet the old folder with the first and the new one with the second, and
    has to notice. A bundle's manifest, with a hash of every file, is how ours do.

    Args:
        path: The folder to replace. It need not exist, nor need the folders above it.

    Yields:
        The folder to write to, beside ``path``.

    Raises:
        OSError: It cannot be written. The old folder stays, and what was written of the new one is removed,
            unless it was whole and only the renames of step 3 failed. They are then made up for by the next
            :func:`recover`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _recover_folder(path)
    partial = _beside(path, PARTIAL)
    try:
        partial.mkdir()
        yield partial
        _flush(partial)
        partial.rename(_beside(path, READY))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(path.parent)
    _put_in_place(path)


def remove_folder(path: Path) -> None:
    """Remove a folder in one step, so that nobody ever finds half of it.

    Args:
        path: The folder, which need not exist. A process that is killed meanwhile leaves what :func:`recover`
            removes.
    """
    _recover_folder(path)
    if not os.path.lexists(path):
        return
    partial = _beside(path, PARTIAL)
    path.rename(partial)
    _remove(partial)


def recover(parent: Path) -> None:
    """Finish or undo what killed processes were writing in a folder.

    A whole new folder is put in place, an old one is put back if nothing replaced it, and whatever is half
    written is removed. No other process may be writing there.

    Args:
        parent: The folder that they wrote in. Its subfolders are not looked into.

    Raises:
        OSError: Something cannot be renamed or removed. The error names it.
    """
    suffixes = (READY, OLD, PARTIAL)
    left = [path for path in parent.glob(".*") if path.suffix in suffixes and path.is_dir()]
    for path in {path.with_name(path.stem.removeprefix(".")) for path in left}:
        _recover_folder(path)
    for partial in parent.glob(f".*{PARTIAL}"):
        _remove(partial)


def _recover_folder(path: Path) -> None:
    old, ready = _beside(path, OLD), _beside(path, READY)
    if os.path.lexists(ready):
        _put_in_place(path)
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)
    for stale in (old, _beside(path, PARTIAL)):
        _remove(stale)


def _put_in_place(path: Path) -> None:
    """Put a folder that is ready in the place of the old one, and remove that."""
    old, ready = _beside(path, OLD), _beside(path, READY)
    if os.path.lexists(path):
        _remove(old)
        path.rename(old)
    try:
        ready.rename(path)
    except OSError:
        if os.path.lexists(old):
            old.rename(path)
        raise
    sync(path.parent)
    _remove(old)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _remove(path: Path) -> None:
    """Remove whatever is at a path, if anything is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Flush a folder's files to the disk, and the entries that name them."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Flush one file to the disk, or a folder's list of names, so that a loss of power does not undo it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)
