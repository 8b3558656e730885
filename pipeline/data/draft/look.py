"""The look of ``graft init`` at data: the files of a folder, or the first rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from pipeline.data.cells import Source
from pipeline.data.draft.paths import PathForm, find_path_forms
from pipeline.data.intake import Place, open_place
from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.walk import Tree
from pipeline.data.tables.rows import Row
from pipeline.modalities.modality import Look, Modality
from pipeline.recipe.data import Data, Table

LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "category",
    "target",
    "sentiment",
    "intent",
    "y",
    "emotion",
    "topic",
    "rating",
    "stars",
    "score",
    "tag",
    "species",
    "breed",
    "type",
    "label_text",
)
SPLIT_COLUMNS = ("split", "subset", "partition", "set", "dataset")
ROWS_SEEN = 200
FILES_SEEN = 400


@dataclass(frozen=True)
class Wishes:
    """What the user says of the data; what is None is found.

    Attributes:
        modality: Name of the kind of input.
        label: Name of the table's column with the labels.
        text: Name of the column with the samples.
        path: Name of the column with the paths of files.
        split: Name of the column with the splits.
        separator: What stands between values, as ``data.table.separator`` takes it.
        encoding: Text encoding of the table, or of files of text.
        layout: Pattern over the paths, as ``data.layout`` takes it.
        backbone: Name of the backbone.
        weights: Weights of the backbone.
    """

    modality: str | None = None
    label: str | None = None
    text: str | None = None
    path: str | None = None
    split: str | None = None
    separator: str | None = None
    encoding: str | None = None
    layout: str | None = None
    backbone: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a kind of input is shown of the data.

    Attributes:
        place: What the source is, for this kind.
        look: The look at it.
        forms: How the columns of paths are to be read, by their names; empty for a folder.
    """

    place: Place
    look: Look
    forms: Mapping[str, PathForm] = field(default_factory=dict)


def look_at(source: str, wishes: Wishes, modality: Modality) -> Seen:
    """Look at data as one kind of input would read them.

    Args:
        source: As the recipe's ``data.source`` takes it.
        wishes: What the user says of them.
        modality: The kind of input.

    Raises:
        DataError: There are no such data, or a table cannot be read.
    """
    form = Table(separator=wishes.separator or "auto", encoding=wishes.encoding or "auto")
    data = Data(source=source, layout=wishes.layout or "auto", table=form)
    place = open_place(data, modality, propose=True)
    if place.tables is None:
        assert place.tree is not None, "a place without tables is a folder"
        return Seen(place, Look(place.root, files=_spread(place.tree)))
    table = next((each for each in place.tables if each.split == "train"), place.tables[0])
    return _look_at_table(table, place, wishes)


def _spread(tree: Tree) -> list[Path]:
    """Return the paths of some files, evenly spread over all."""
    files = sorted((*tree.files, *tree.others))
    step = max(1, len(files) // FILES_SEEN)
    return [tree.root / path for path in files[::step]]


def _look_at_table(table: Source, place: Place, wishes: Wishes) -> Seen:
    """Read the first rows of a table, and find its columns of labels and of paths."""
    rows = list(islice(table.rows, ROWS_SEEN))
    columns = table.rows.columns
    binary = [name for index, name in enumerate(columns) if _holds_bytes(rows, index)]
    texts = [{name: _text(row, index) for index, name in enumerate(columns)} for row in rows]
    values = {name: [row[name] for row in texts] for name in columns if name not in binary}
    forms = find_path_forms(values, table.folder)
    look = Look(
        place.root / table.name,
        form=table.form or Table(),
        rows=texts,
        columns=columns,
        binary=binary,
        paths={name: form.files for name, form in forms.items()},
    )
    return Seen(place, replace(look, label=wishes.label or look.pick(LABEL_COLUMNS) or ""), forms)


def _holds_bytes(rows: Sequence[Row], index: int) -> bool:
    return any(isinstance(row.values[index], bytes) for row in rows)


def _text(row: Row, index: int) -> str:
    cell = row.values[index]
    return cell if isinstance(cell, str) else ""


def find_label(look: Look, content: str) -> str | None:
    """Return the column that is most like labels where none has a usual name; None for none.

    It is the one with the fewest different values, which come again and are no splits.

    Args:
        look: The look at the table.
        content: Name of the column with the samples or their paths.
    """
    counts = {
        name: len({row[name] for row in look.rows})
        for name in look.columns
        if name != content and name not in look.binary and not holds_splits(look, name)
    }
    likely = [name for name, count in counts.items() if 2 <= count <= max(2, len(look.rows) // 2)]
    return min(likely, key=lambda name: counts[name], default=None)


def find_split(look: Look, used: Sequence[str]) -> str | None:
    """Return the column that says each sample's split; None for none.

    Args:
        look: The look at the table.
        used: Names of the columns that hold something else.
    """
    return next((name for name in look.columns if name not in used and holds_splits(look, name)), None)


def holds_splits(look: Look, name: str) -> bool:
    """Return whether every value of a column is a usual name of a split, ``train`` among them."""
    splits = {split_named(row[name]) for row in look.rows}
    return (
        None not in splits
        and (len(splits) > 1 or name.strip().lower() in SPLIT_COLUMNS)
        and "train" in splits
    )
