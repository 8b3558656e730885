"""The files of a signature, written so that a folder has all new ones or all old ones."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

PARTIAL: Final = ".partial"
OLD: Final = ".old"


def replace_files(contents: Mapping[Path, bytes | None]) -> None:
    """Replace several files, or none of them.

    All are written and flushed beside their places first, and the old ones kept until the new ones are there.
    A process that is killed while it renames may leave a mixture, which no check of the signature accepts.

    Args:
        contents: The new content of each file; None where there is to be none. The last one's place is taken
            last.

    Raises:
        OSError: One cannot be written, or removed; all have their old content then.
    """
    token = secrets.token_hex(4)
    replaced: list[Path] = []
    try:
        for path, content in contents.items():
            _prepare(path, content, token)
        for path, content in contents.items():
            replaced.append(path)
            if content is None:
                path.unlink(missing_ok=True)
            else:
                _beside(path, token, PARTIAL).replace(path)
    except BaseException:
        for path in reversed(replaced):
            _put_back(path, token)
        _clean(contents, token)
        raise
    _clean(contents, token)


def _clean(paths: Iterable[Path], token: str) -> None:
    """Remove what is left beside the files; what stays here is removed when they are signed again."""
    for path in paths:
        for suffix in (PARTIAL, OLD):
            with suppress(OSError):
                _beside(path, token, suffix).unlink(missing_ok=True)


def remove_leftovers(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what killed processes have left beside some files.

    Args:
        folder: The folder of the files.
        names: Their names.
    """
    for name in names:
        for suffix in (PARTIAL, OLD):
            for path in folder.glob(f".{name}.????????{suffix}"):
                path.unlink()


def _prepare(path: Path, content: bytes | None, token: str) -> None:
    """Write a file's new content beside its place, and keep the old one there too."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if content is not None:
        with _beside(path, token, PARTIAL).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if path.exists():
        old = _beside(path, token, OLD)
        try:
            os.link(path, old)
        except OSError:  # not every file system has hard links
            shutil.copyfile(path, old)


def _put_back(path: Path, token: str) -> None:
    old = _beside(path, token, OLD)
    if old.exists():
        old.replace(path)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path, token: str, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{token}{suffix}")
