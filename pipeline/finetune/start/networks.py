"""Exported backbones in the cache: exporting one takes longer than the features of some hundred samples."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.files import atomic

log = logging.getLogger("graft")
MOST_BYTES: Final = 256 * 1024 * 1024  # of a network that is kept; a larger one takes its time anyway


def read_network(folder: Path, key: str) -> bytes | None:
    """Return the ONNX file that was kept under a key, or None where there is none that is whole.

    Args:
        folder: The folder of the cache.
        key: A hash of all that the network depends on.
    """
    for path in sorted(folder.glob(f"{key}-*.onnx")):
        with suppress(OSError):
            content = path.read_bytes()
            if path == _place(folder, key, content):
                return content
            log.warning("features: the exported backbone %s is damaged and is made anew", path)
            path.unlink()
    return None


def keep_network(folder: Path, key: str, content: bytes) -> None:
    """Keep an ONNX file under a key, if there is room and it is not too large.

    Args:
        folder: The folder of the cache.
        key: A hash of all that the network depends on.
        content: The file, which holds its own tensors.
    """
    if len(content) <= MOST_BYTES:
        with suppress(OSError):  # that the cache cannot be written is said where the features are kept
            atomic.write_bytes(_place(folder, key, content), content)


def _place(folder: Path, key: str, content: bytes) -> Path:
    """Return the path, whose name has the file's hash, so that a damaged one is told from a whole one."""
    return folder / f"{key}-{hashlib.sha256(content).hexdigest()[:32]}.onnx"
