"""The places of installed and unpacked packages, whose data and weights the benchmarks read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


class NotInstalledError(LookupError):
    """A package that a benchmark reads is in none of the folders; the message says how to get it."""


class Packages:
    """The folders that packages are looked for in.

    Args:
        folders: Folders beside those of ``sys.path``, such as the target of ``pip install --no-deps
            --target`` or of ``dpkg -x``.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = [*folders, *map(Path, filter(None, sys.path)), Path("/")]

    def find(self, place: str, how: str) -> Path:
        """Return the path of a package's file or folder.

        Args:
            place: Its path inside the folder that the package was installed or unpacked into.
            how: The command that installs or unpacks it, for the error.

        Raises:
            NotInstalledError: It is in none of the folders.
        """
        found = next((folder / place for folder in self.folders if (folder / place).exists()), None)
        if found is None:
            raise NotInstalledError(f"{place} is in none of the folders. Get it with: {how}")
        return found
