"""The folder that a group of workers shares, whatever starts them."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from serving.server.observing.sharing import PREFIX, WORKERS_FILES, is_held, make_shared_folder

OWNER: Final = "owner"  # a file in a shared folder, on which the process that made it holds a lock


def open_shared_folder() -> None:
    """Make the folder in which workers share metrics, if that is possible. It goes when this process ends."""
    folder = make_shared_folder()
    if folder:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with suppress(OSError):
            _own(folder)
        _remove_left(folder.parent)


def _own(folder: Path) -> None:
    unfinished = folder / f"{OWNER}.new"
    held = os.open(unfinished, os.O_CREAT | os.O_RDONLY, 0o600)  # until this process ends
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unfinished.rename(folder / OWNER)  # others look only for what is locked already


def _remove_left(parent: Path) -> None:
    """Remove the folders of killed services: in a container that starts again and again they would add up."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid() and not _is_used(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    """Return whether its owner or a worker lives; raises FileNotFoundError where it has no owner yet."""
    return any(is_held(path) for path in (folder / OWNER, *folder.glob(WORKERS_FILES)))
