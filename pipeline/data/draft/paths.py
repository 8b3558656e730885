"""Columns of paths: found by what their values lead to, also from other folders and without a suffix."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

MOST_FILES = 500_000
VALUES_SEEN = 20


@dataclass(frozen=True)
class PathForm:
    """How the paths of a column are to be read.

    Attributes:
        files: The files that the first values lead to.
        root: Folder that they count from, relative to the table's; empty for the table's own.
        strip: Beginning that is taken off them; empty for none.
        suffix: What is put behind them; empty for nothing.
    """

    files: tuple[Path, ...]
    root: str = ""
    strip: str = ""
    suffix: str = ""


def find_path_forms(columns: Mapping[str, Sequence[str]], folder: Path) -> dict[str, PathForm]:
    """Return the columns whose values lead to files, and how.

    Args:
        columns: The first values of each column.
        folder: Folder of the table.
    """
    seen = {
        name: [value.strip() for value in islice(filter(str.strip, values), VALUES_SEEN)]
        for name, values in columns.items()
    }
    plain = {name: form for name, values in seen.items() if (form := _plain(values, folder))}
    if plain:
        return plain
    index = _Index.of(folder)
    return {name: form for name, values in seen.items() if (form := index.find(values, folder))}


def _plain(values: Sequence[str], folder: Path) -> PathForm | None:
    """Return the form of paths that lead to files as they are; None where less than half of them do."""
    files = [folder / value.replace("\\", "/") for value in values if 0 < len(value) < 1024]
    found = tuple(path for path in files if os.path.isfile(path))  # noqa: PTH113 - names may be impossible
    return PathForm(found) if found and len(found) * 2 >= len(values) else None


@dataclass(frozen=True)
class _Index:
    """The files below a folder, by their names with and without suffix.

    Attributes:
        names: Paths relative to the folder, by the file's name.
        stems: The same by the name without its suffix.
    """

    names: Mapping[str, list[str]]
    stems: Mapping[str, list[str]]

    @classmethod
    def of(cls, folder: Path) -> _Index:
        """Look through a folder."""
        names: dict[str, list[str]] = defaultdict(list)
        stems: dict[str, list[str]] = defaultdict(list)
        paths = (
            os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118 - fast for many files
            for parent, _, files in os.walk(folder)
            for name in files
        )
        for path in islice(paths, MOST_FILES):
            pure = PurePosixPath(path)
            names[pure.name].append(path)
            stems[pure.stem].append(path)
        return cls(names, stems)

    def find(self, values: Sequence[str], folder: Path) -> PathForm | None:
        """Return how some paths are to be read so that half of them lead to files; None for not at all."""
        forms = []
        for value in values:
            written = value.replace("\\", "/")
            base = written.rpartition("/")[2]
            paths = self.names.get(base) or self.stems.get(base)
            if paths:  # the one that shares most folders: a class's name must not be taken off
                root, strip, suffix = min(
                    (_compare(written, path) for path in paths), key=lambda each: len(each[1])
                )
                files = [folder / root / (each[len(strip) :] + suffix) for each in _slashed(values, strip)]
                found = tuple(each for each in files if os.path.isfile(each))  # noqa: PTH113 - see above
                forms.append(PathForm(found, root, value[: len(strip)], suffix))
        best = max(forms, key=lambda form: (len(form.files), -len(form.strip)), default=None)
        return best if best is not None and len(best.files) * 2 >= len(values) else None


def _slashed(values: Sequence[str], strip: str) -> list[str]:
    slashed = (value.replace("\\", "/") for value in values)
    return [value for value in slashed if value.startswith(strip)]


def _compare(written: str, path: str) -> tuple[str, str, str]:
    """Return root, beginning to take off and suffix to add, so that a written path becomes a real one."""
    suffix = path[len(path.rpartition("/")[0]) :]
    suffix = suffix[suffix.rfind(written.rpartition("/")[2]) + len(written.rpartition("/")[2]) :]
    wanted, real = written.split("/"), path.removesuffix(suffix).split("/") if suffix else path.split("/")
    common = 0
    while common < min(len(wanted), len(real)) and wanted[-1 - common] == real[-1 - common]:
        common += 1
    kept = "/".join(wanted[len(wanted) - common :])
    return "/".join(real[: len(real) - common]), written.removesuffix(kept), suffix
