"""Labelled examples, read from what the user has: a folder, a table, or a data set of Hugging Face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.data.cells import Source, read_cells
from pipeline.data.folders import read_files
from pipeline.data.labelled import Intake, Labelled
from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.pattern import read_pattern
from pipeline.data.layouts.recognise import recognise
from pipeline.data.layouts.tables import Tables, find_metadata, find_tables, is_table
from pipeline.data.layouts.walk import Tree, walk
from pipeline.data.tables.datasets import is_saved_dataset, open_dataset
from pipeline.data.tables.embedded import DatasetCell, ParquetCell
from pipeline.data.tables.opening import open_rows, understand
from pipeline.errors import DataError
from pipeline.files.sources import HUB, SOURCE_KEY, locate, root_of
from pipeline.modalities.modality import Modality
from pipeline.recipe.data import Data
from pipeline.reporting.printable import printable

UTF_8 = frozenset({"utf-8", "utf8", "utf-8-sig"})


@dataclass(frozen=True)
class Place:
    """What a recipe's source is: the files below a folder, or tables.

    Attributes:
        root: Folder that the sources of the samples count from.
        tree: What stands below the folder; None where the source is no folder of files.
        tables: The tables that hold the samples or name them; None where the files themselves are samples.
        remarks: What there is to tell of the choice of the tables.
    """

    root: Path
    tree: Tree | None = None
    tables: tuple[Source, ...] | None = None
    remarks: tuple[str, ...] = ()


def read_labelled(data: Data, modality: Modality, *, judge: bool = True) -> Intake:
    """Read every labelled example of a recipe's source.

    Args:
        data: The recipe's section ``data``.
        modality: The kind of input.
        judge: Whether labels that are missing or look like one another are refused, the default.

    Returns:
        The examples: files ordered by path, cells as in their tables.

    Raises:
        DataError: There is no such source, it holds no labelled examples, or they cannot be read as the
            recipe says; the message names the remedy.
    """
    place = open_place(data, modality)
    if place.tables is not None:
        intake = _read_tables(place, data, modality, judge=judge)
    else:
        assert place.tree is not None, "a place without tables is a folder"
        intake = read_files(place.tree, data, judge=judge)
    if not intake.examples:
        raise DataError(
            f"{data.source}: holds no labelled examples. "
            "A folder needs one subfolder a class, a table one line an example."
        )
    if modality.samples_are_cells and data.encoding.lower() not in UTF_8:
        return replace(intake, examples=[_decoded(example, data.encoding) for example in intake.examples])
    return intake


def open_place(data: Data, modality: Modality, *, propose: bool = False) -> Place:
    """Find out what a recipe's source is, and open its tables.

    Args:
        data: The recipe's section ``data``.
        modality: The kind of input.
        propose: Whether to guess where a table alone does not tell how to read it.

    Raises:
        DataError: There is no such source, or a table cannot be read.
    """
    if data.source.startswith(HUB):
        return Place(Path(), tables=_parts_of(data.source, Path(), data))
    source = locate(data.source, SOURCE_KEY).absolute()
    root = (root_of(str(source), data.root) or source.parent).absolute()
    if not source.is_dir():
        return Place(root, tables=(open_source(source, source.name, data, propose=propose),))
    if is_saved_dataset(source):
        return Place(root, tables=_parts_of(source, root, data))
    tree = walk(source, modality.takes)
    files, left_out = _tables_of(tree, data.leave_out)
    tables = tables_in(tree, data, files)
    if tables is None:
        return Place(root, tree)
    told = [] if data.layout != "auto" else [f"{root}: {tables.said} (data.layout: {tables.layout!r})"]
    if left_out:
        told.append(f"data.leave_out: {len(left_out):,} table(s): {', '.join(map(printable, left_out))}")
    opened = (open_source(root / name, name, data, tables.layout, propose=propose) for name in tables.names)
    return Place(root, tree, tuple(opened), tuple(told))


def _tables_of(tree: Tree, leave_out: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the paths of the tables below a folder, and of those that the recipe leaves out."""
    patterns = [read_pattern(text, "data.leave_out") for text in leave_out]
    files: list[str] = []
    left_out: list[str] = []
    for path in sorted(path for path in (*tree.others, *tree.files) if is_table(path)):
        (left_out if any(pattern.match(path) for pattern in patterns) else files).append(path)
    return files, left_out


def tables_in(tree: Tree, data: Data, files: Sequence[str]) -> Tables | None:
    """Return the tables in a folder that hold the samples; None where the files themselves are samples.

    Args:
        tree: What stands below the folder.
        data: The recipe's section ``data``.
        files: The paths of the tables in the folder that are not left out.

    Raises:
        DataError: The recipe's layout is that of tables, and there are none.
    """
    if data.layout == "auto":
        return find_metadata(files) or (None if recognise(tree.files) else find_tables(files))
    if not is_table(data.layout):
        return None
    pattern = read_pattern(data.layout, "data.layout")
    names = tuple(path for path in files if pattern.match(path))
    if not names:
        raise DataError(f"data.layout: no table in {tree.root} fits {data.layout!r}. Correct the pattern.")
    return Tables(data.layout, names, "as the recipe says")


def _read_tables(place: Place, data: Data, modality: Modality, *, judge: bool) -> Intake:
    """Read the samples of tables. One without labels, as competitions publish for the test, is left out."""
    tables = place.tables or ()
    labelled = [source for source in tables if data.table.label in source.rows.columns] or tables
    blank = [source.name for source in tables if source not in labelled]
    are_texts = _are_texts(tables[0], data, modality)
    intake = read_cells(labelled, data, place.root, are_texts=are_texts, judge=judge)
    told = [f"{name}: has no column `{data.table.label}`, and is left out" for name in blank]
    return replace(intake, remarks=(*place.remarks, *told, *intake.remarks))


def open_source(path: Path, name: str, data: Data, layout: str = "*", *, propose: bool = False) -> Source:
    """Open a table.

    Args:
        path: Path of the table.
        name: Its path relative to the data's root.
        data: The recipe's section ``data``.
        layout: The pattern that found it, which may say its split.
        propose: Whether to guess where the file alone does not tell how to read it.
    """
    found = read_pattern(layout, "data.layout").match(name)
    split = None
    if found is not None and found.split is not None and data.splits.given == "keep":
        split = split_named(found.split, data.splits.names)
        if split is None:
            raise DataError(
                f"{printable(name)}: `{printable(found.split)}` is no known name of a split. "
                f"Say which it is: data.splits.names: {{{printable(found.split)}: test}}"
            )
    form = understand(path, data.table, propose=propose)
    folder = Path(data.root) if data.root else path.parent
    return Source(name, open_rows(path, form), folder, partial(ParquetCell, path), form, split)


def _are_texts(source: Source, data: Data, modality: Modality) -> bool:
    """Return whether a table holds the samples themselves, and no paths of files."""
    columns = source.rows.columns
    return modality.samples_are_cells and (data.table.text in columns or data.table.path not in columns)


def _parts_of(source: str | Path, root: Path, data: Data) -> tuple[Source, ...]:
    """Open the parts of a data set of Hugging Face, saved in a folder or from the hub."""
    sources = []
    for part in open_dataset(source):
        split = split_named(part.name or "", data.splits.names) if data.splits.given == "keep" else None
        load = partial(DatasetCell, part.dataset)
        sources.append(Source(part.name or "data", part.rows, root, load, split=split))
    return tuple(source for source in sources if source.split) or tuple(sources)


def _decoded(example: Labelled, encoding: str) -> Labelled:
    """Return the example of a file with its text, where the file is of that encoding."""
    if example.path is None or example.text is not None:
        return example
    try:
        return replace(example, text=example.path.read_bytes().decode(encoding))
    except LookupError as error:
        raise DataError(f"data.encoding: Python knows no `{encoding}`. Such as: cp1252, latin-1.") from error
    except (OSError, UnicodeDecodeError):
        return example  # the audit says what is wrong with it
