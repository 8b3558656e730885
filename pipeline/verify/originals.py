"""The samples that a bundle was measured on, found again by their content wherever they lie now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.intake import read_labelled
from pipeline.data.tables.opening import TABLE_SUFFIXES, open_rows
from pipeline.errors import DataError
from pipeline.modalities.registry import find_modality
from pipeline.modalities.training import Readable
from pipeline.recipe.data import Table
from pipeline.recipe.reading import load_recipe
from pipeline.reporting.progress import track
from pipeline.verify.scoring import Originals

RECIPES = {".yaml", ".yml"}


@dataclass(frozen=True)
class File:
    """A sample in a file of its own.

    Attributes:
        path: Path of the file.
    """

    path: Path

    def read(self) -> bytes:
        """Return the file's bytes; raises OSError if it cannot be read."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class Cell:
    """A sample that is a value of a table.

    Attributes:
        text: The value.
    """

    text: str

    def read(self) -> bytes:
        """Return the text's bytes in UTF-8."""
        return self.text.encode(errors="surrogatepass")


@dataclass(frozen=True)
class Embedded:
    """A sample that a table holds as bytes.

    Attributes:
        content: The bytes.
    """

    content: bytes

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content


def find_originals(data: Path, wanted: Iterable[str]) -> Originals:
    """Find the samples that have the given content hashes.

    Args:
        data: A folder whose files are the samples, at any depth; a table with a header (.csv or .tsv) whose
            values are the texts or name the files; or a recipe, whose section ``data`` says where they are.
        wanted: SHA-256, in hexadecimal, of each sample's bytes.

    Returns:
        The samples by their hash.

    Raises:
        DataError: There is no such place, or some of the samples are not in it.
    """
    missing = set(wanted)
    originals: dict[str, Readable] = {}
    candidates = list(_candidates(data))
    for candidate in track(candidates, total=len(candidates), what="data", unit="samples"):
        sha256 = _hash(candidate)
        if sha256 in missing:
            missing.remove(sha256)
            originals[sha256] = candidate
        if not missing:
            break
    if missing:
        raise DataError(
            f"{data}: {len(missing)} of {len(missing) + len(originals)} samples that the bundle was measured "
            f"on are not in it, the first being {min(missing)[:16]}…. Name the data as they were when it was "
            "trained: a folder, a .csv or .tsv table, or the recipe."
        )
    return originals


def _hash(candidate: Readable) -> str:
    """Return the SHA-256, in hexadecimal, of a candidate's bytes.

    It is empty for a candidate that cannot be read: if that is one of the samples, it will be missing.
    """
    try:
        return hashlib.sha256(candidate.read()).hexdigest()
    except OSError:
        return ""


def _candidates(data: Path) -> Iterator[Readable]:
    if data.is_dir():
        yield from (File(path) for path in sorted(data.rglob("*")) if path.is_file())
    elif data.suffix in RECIPES:
        recipe = load_recipe(data)
        yield from read_labelled(recipe.data, find_modality(recipe.modality)).examples
    elif data.suffix.lower() in TABLE_SUFFIXES and data.is_file():
        yield from _in_table(data)
    else:
        raise DataError(
            f"{data}: is neither a folder, nor a .csv or .tsv table, nor a recipe. "
            "Name where the held-out samples are."
        )


def _in_table(path: Path) -> Iterator[Readable]:
    """Yield every value of a table as a text and, if it names a file beside the table, as that file too."""
    for row in open_rows(path, Table()).rows:
        for value in row.values:
            if isinstance(value, bytes):
                yield Embedded(value)
            elif value is not None:
                yield Cell(value)
                if _names_file(path.parent, value):
                    yield File(path.parent / value)


def _names_file(folder: Path, value: str) -> bool:
    try:
        return bool(value) and (folder / value).is_file()
    except (OSError, ValueError):  # it is too long, or has a null byte, and is therefore a text
        return False
