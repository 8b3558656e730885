"""Labelled examples of tables: each row has a label, and is a sample or names a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.labelled import Intake, Labelled
from pipeline.data.labels import LabelReader
from pipeline.data.layouts.names import split_named
from pipeline.data.paths import PathReader
from pipeline.data.soft import SoftReader, merged
from pipeline.data.tables.rows import Row, Rows
from pipeline.data.watch import TextWatch
from pipeline.errors import DataError
from pipeline.recipe.data import Data, Split, Table
from pipeline.reporting.printable import listing, printable
from pipeline.reporting.progress import track


@dataclass(frozen=True)
class Source:
    """One table of the data.

    Attributes:
        name: Name of the table relative to the data's root, such as ``train.csv``.
        rows: Its rows.
        folder: Folder that the paths in it count from.
        load: Returns what reads the bytes of a cell, by the column's name and the row's line.
        form: How the table is read; None where there is nothing to say.
        split: The split that the table's place or name says; None, the default, where it says none.
    """

    name: str
    rows: Rows
    folder: Path
    load: Callable[[str, int], Callable[[], bytes]]
    form: Table | None = None
    split: Split | None = None


@dataclass(frozen=True)
class Columns:
    """The places, in a row, of the columns that are used.

    Attributes:
        content: Place of the sample, or of the path that names it.
        label: Place of the label.
        split: Place of the split; None where no column holds it.
        strata: Places of the columns to stratify by.
        group: Place of the group; None where there are none.
        time: Place of the time; None where it is not asked for.
        probabilities: Places of the probabilities, in the order of the recipe's classes.
        weight: Place of the weight; None where there is none.
    """

    content: int
    label: int
    split: int | None
    strata: tuple[int, ...]
    group: int | None
    time: int | None
    probabilities: tuple[int, ...] = ()
    weight: int | None = None


def read_cells(
    sources: Iterable[Source], data: Data, root: Path, *, are_texts: bool, judge: bool = True
) -> Intake:
    """Read the labelled examples of some tables.

    Args:
        sources: The tables.
        data: The recipe's section ``data``.
        root: Folder that the sources of the samples count from.
        are_texts: Whether a cell of text is the sample itself, rather than the path of a file.
        judge: Whether labels that are missing or look like one another are refused, the default.

    Raises:
        DataError: A column is missing, a path leads to no file, or something is wrong with labels or splits.
    """
    labels, splits = LabelReader(data.labels, data.table.classes), SplitReader(data)
    paths = None if are_texts else PathReader(data, root)
    watch, soft = TextWatch(), SoftReader(data.table)
    examples: list[Labelled] = []
    for source in sources:
        columns = find_columns(source, data, are_texts=are_texts)
        separator = source.form.separator if source.form else ""
        for row in track(source.rows.rows, total=source.rows.total or 0, what="intake", unit="rows"):
            place = f"{source.name}, line {row.line}"
            label = labels.read(text_at(row, columns.label), place)
            if label is not None:
                split = splits.read(source.split, text_at(row, columns.split), place)
                examples.append(_example(row, columns, source, label, split, paths))
                watch.see(examples[-1].text or "", separator, place)
                shares = [text_at(row, place_of) for place_of in columns.probabilities]
                soft.read(shares, text_at(row, columns.weight), place)
    splits.finish()
    examples, aims = soft.finish(examples)
    told = paths.finish() if paths else watch.finish()
    examples, again = _without_repeats(examples) if paths else (examples, [])
    return Intake(examples, (*told, *again, *aims, *labels.finish(judge=judge)))


def find_columns(source: Source, data: Data, *, are_texts: bool) -> Columns:
    """Return the places of the columns that the recipe names.

    Raises:
        DataError: The table lacks one of them, or it holds lists or objects.
    """
    table, names = data.table, source.rows.columns
    content = ("data.table.text", table.text) if are_texts else ("data.table.path", table.path)
    wanted = [content, ("data.table.label", table.label)]
    wanted += [(f"data.stratify_by[{index}]", name) for index, name in enumerate(data.stratify_by)]
    classes = [*table.probabilities]
    wanted += [(f"data.table.probabilities.{name}", table.probabilities[name]) for name in classes]
    optional = [
        ("data.table.split", None if source.split else table.split),
        ("data.group_by", data.group_by),
        ("data.split_by_time", data.split_by_time),
        ("data.table.weight", table.weight),
    ]
    wanted += [(key, name) for key, name in optional if name is not None]
    for key, name in wanted:
        source.rows.index(name, key)
    split, group, time, weight = (None if name is None else names.index(name) for _, name in optional)
    strata = tuple(names.index(name) for name in data.stratify_by)
    shares = tuple(names.index(table.probabilities[name]) for name in classes)
    return Columns(
        names.index(content[1]), names.index(table.label), split, strata, group, time, shares, weight
    )


def text_at(row: Row, place: int | None) -> str | None:
    """Return the text in a row's cell; None for a cell without text, or no cell."""
    cell = None if place is None else row.values[place]
    return cell if isinstance(cell, str) else None


class SplitReader:
    """Reads the names of splits in a table, and says at the end which are unknown.

    Args:
        data: The recipe's section ``data``.
    """

    def __init__(self, data: Data) -> None:
        self._splits = data.splits
        self._is_named = data.table.split is not None and data.splits.given == "keep"
        self._unknown: list[str] = []

    def read(self, of_table: Split | None, value: str | None, place: str) -> Split | None:
        """Return a sample's split; None where nothing says it, or nothing is to.

        Args:
            of_table: The split of the whole table, if it has one.
            value: The row's value in the column of splits.
            place: Where it stands, for messages.
        """
        if of_table is not None or not self._is_named:
            return of_table if self._splits.given == "keep" else None
        split = split_named(value or "", self._splits.names)
        if split is None:
            self._unknown.append(f"{place}: {printable(value or '')!r}")
        return split

    def finish(self) -> None:
        """Refuse names that stand for no split.

        Raises:
            DataError: There are some; they are listed.
        """
        if self._unknown:
            raise DataError(
                f"{len(self._unknown):,} value(s) of data.table.split name no split:\n"
                f"{listing(self._unknown)}\nSay which they are: data.splits.names: {{NAME: test}}. "
                "Or divide anew: data.splits.given: ignore"
            )


def _example(
    row: Row, columns: Columns, source: Source, label: str, split: Split | None, paths: PathReader | None
) -> Labelled:
    """Return the example of a row."""
    cell, name = row.values[columns.content], f"{source.name}:{row.line}"
    path, text, load = None, None, None
    if isinstance(cell, bytes):
        load = source.load(source.rows.columns[columns.content], row.line)
    elif paths is None:
        text = cell or ""
    else:
        name, path = paths.find(cell, source.folder, f"{source.name}, line {row.line}")
    return Labelled(
        name,
        label,
        path,
        text,
        load,
        split,
        tuple(text_at(row, place) or "" for place in columns.strata),
        None if columns.group is None else text_at(row, columns.group) or "",
        None if columns.time is None else text_at(row, columns.time) or "",
    )


def _without_repeats(examples: Sequence[Labelled]) -> tuple[list[Labelled], list[str]]:
    """Keep one of the rows that name one file, and tell of the others.

    Raises:
        DataError: One file stands under several labels or in several splits.
    """
    rows: dict[str, list[Labelled]] = {}
    differing: dict[str, list[str]] = {}
    for example in examples:
        of_file = rows.setdefault(example.source, [])
        of_file.append(example)
        known = of_file[0]
        if (known.label, known.split) != (example.label, example.split):
            differing.setdefault(example.source, [_said(known)]).append(_said(example))
    if differing:
        lines = [
            f"{printable(source)}: {', '.join(dict.fromkeys(each))}" for source, each in differing.items()
        ]
        raise DataError(
            f"{len(lines):,} file(s) stand in the table several times, and not the same each time:\n"
            f"{listing(lines)}\nKeep the right line of each."
        )
    again = len(examples) - len(rows)
    return [merged(each, each[0]) for each in rows.values()], [
        f"{again:,} line(s) name a file once more"
    ] if again else []


def _said(example: Labelled) -> str:
    return printable(example.label) + (f" ({example.split})" if example.split else "")
