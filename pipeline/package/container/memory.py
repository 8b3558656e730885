"""A limit on the memory of a container, by a control group of the kernel."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import IsolationError

GROUPS = Path("/sys/fs/cgroup")
BYTES_PER_MIB = 1024 * 1024
ATTEMPTS = 50
PAUSE_S = 0.02


@contextmanager
def limited_memory(memory_mb: int, groups: Path = GROUPS) -> Iterator[Path]:
    """Make a control group with a limit on memory, and remove it at the end.

    Args:
        memory_mb: The most memory of all processes in it together, in MiB.
        groups: The folder that the kernel shows control groups in.

    Yields:
        The folder of the control group.

    Raises:
        IsolationError: It cannot be made here.
    """
    is_first_version = (groups / "memory").is_dir()
    parent = groups / "memory" if is_first_version else groups
    group = parent / f"graft-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if is_first_version else "memory.max"
        (group / limit).write_text(str(memory_mb * BYTES_PER_MIB))
    except OSError as error:
        _remove(group)
        raise IsolationError(
            f"{group}: memory cannot be limited here ({error.strerror}). It takes root, and control groups "
            "that may be written."
        ) from error
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a control group, which the kernel allows a moment after the last process in it has ended."""
    for _ in range(ATTEMPTS):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(PAUSE_S)
        else:
            return
