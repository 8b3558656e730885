"""Labelled examples of a folder: the paths of its files say their labels, and perhaps splits and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.data.labelled import Intake, Labelled
from pipeline.data.labels import LabelReader
from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.pattern import Pattern, read_pattern
from pipeline.data.layouts.recognise import Reading, recognise
from pipeline.data.layouts.walk import Tree
from pipeline.errors import DataError
from pipeline.recipe.data import Data, Split, Splits
from pipeline.reporting.printable import listing, printable


def read_files(tree: Tree, data: Data, *, judge: bool = True) -> Intake:
    """Read the labelled files below a folder.

    Args:
        tree: What stands below the folder.
        data: The recipe's section ``data``.
        judge: Whether labels that are missing or look like one another are refused, the default.

    Raises:
        DataError: No path says a label, or something is wrong with the labels or splits.
    """
    _refuse_columns(tree.root, data)
    reading, remarks = choose_reading(tree, data)
    layout = read_pattern(reading.layout, "data.layout", ["label"])
    groups = read_pattern(data.group_by, "data.group_by", ["group"]) if data.group_by else None
    leave_out = [read_pattern(text, "data.leave_out") for text in (*reading.leave_out, *data.leave_out)]
    labels, outside, examples = LabelReader(data.labels), [], []
    skipped: Counter[str] = Counter()
    for path in tree.files:
        pattern = next((each.text for each in leave_out if each.match(path)), None)
        if pattern:
            skipped[pattern] += 1
            continue
        found = layout.match(path)
        if found is None:
            outside.append(path)
            continue
        label = labels.read(found.label, path)
        if label is not None:
            example = Labelled(path, label, tree.root / path, split=_split(found.split, path, data.splits))
            group = found.group if groups is None else _group(groups, path)
            examples.append(replace(example, group=group) if group is not None else example)
    return Intake(
        examples,
        (
            *remarks,
            *_tell_tree(tree),
            *(f"data.leave_out: {count:,} file(s) of {pattern}" for pattern, count in skipped.items()),
            *_tell_outside(outside, layout),
            *labels.finish(judge=judge),
        ),
    )


def choose_reading(tree: Tree, data: Data) -> tuple[Reading, list[str]]:
    """Return how to read a folder, and what there is to tell of the choice.

    Raises:
        DataError: The recipe does not say, and no folder or name looks like a label.
    """
    if data.layout != "auto":
        return Reading(data.layout, "as the recipe says"), []
    readings = recognise(tree.files)
    if not readings:
        raise DataError(explain_no_labels(tree))
    best, *others = readings
    told = [f"{tree.root}: {best.said} (data.layout: {best.layout!r})"]
    told += [f"another reading: {other.said} (data.layout: {other.layout!r})" for other in others]
    return best, told


def explain_no_labels(tree: Tree) -> str:
    """Return the message for a folder in which nothing looks like a label."""
    if not tree.files:
        left_out = ", ".join(f"{count:,} {printable(name)}" for name, count in tree.suffixes().items())
        return (
            f"{tree.root}: holds no labelled examples"
            + (f" (files that are none: {left_out}). " if left_out else ". ")
            + "A folder needs one subfolder a class, a table one line an example."
        )
    remedy = (
        "Put the files into one subfolder a class, write a table with their paths and labels, or say where "
        "the label stands in the path: data.layout, such as '{split}/{label}/**'."
    )
    boxes = _box_files(tree)
    if boxes:
        return (
            f"{tree.root}: {boxes:,} pictures have a file of the same name in a folder `labels` or "
            "`annotations`, so these are boxes or masks in a picture, and Graft classifies whole ones. "
            + remedy
        )
    folders = {path.rpartition("/")[0] for path in tree.files}
    if len(folders) == 1 and "" not in folders:
        return f"{tree.root}: there is only one label ({printable(folders.pop())}). {remedy}"
    return (
        f"{tree.root}: {len(tree.files):,} files, but no two folders or names that could be classes, "
        f"such as {printable(tree.files[0])}. {remedy}"
    )


def _box_files(tree: Tree) -> int:
    """Return the number of files that have an annotation of the same name."""
    notes = {"labels", "annotations", "masks", "labelstxt"}
    stems = {
        Path(path).stem
        for path in (*tree.others, *tree.files)
        if any(name.casefold() in notes for name in path.split("/")[:-1])
    }
    return sum(Path(path).stem in stems for path in tree.files)


def _refuse_columns(root: Path, data: Data) -> None:
    wrong = {
        "data.stratify_by": data.stratify_by,
        "data.split_by_time": data.split_by_time,
        "data.table.split": data.table.split,
        "data.table.probabilities": data.table.probabilities,
        "data.table.weight": data.table.weight,
    }
    keys = [key for key, value in wrong.items() if value]
    if keys:
        raise DataError(
            f"{', '.join(keys)}: {root} is a folder and has no columns. "
            "Remove it, or name a table as data.source."
        )


def _split(name: str | None, path: str, splits: Splits) -> Split | None:
    """Return the split that a folder's name stands for; None where the layout has none.

    Raises:
        DataError: It stands for none.
    """
    if name is None or splits.given == "ignore":
        return None
    split = split_named(name, splits.names)
    if split is None:
        raise DataError(
            f"{printable(path)}: `{printable(name)}` is no known name of a split. "
            f"Say which it is (data.splits.names: {{{printable(name)}: test}}), "
            f"or leave it out (data.leave_out: ['**/{printable(name)}/**'])."
        )
    return split


def _group(groups: Pattern, path: str) -> str:
    found = groups.match(path)
    if found is None:
        raise DataError(
            f"data.group_by: {printable(path)} does not fit {groups.text!r}. "
            "Write a pattern that every file fits."
        )
    return found.group or ""


def _tell_tree(tree: Tree) -> Iterator[str]:
    """Tell of what is in the folder and is no sample."""
    if tree.others:
        kinds = ", ".join(f"{count:,} {printable(name)}" for name, count in list(tree.suffixes().items())[:8])
        yield f"{len(tree.others):,} file(s) are no samples: {kinds}"
    if tree.empty:
        yield f"{len(tree.empty):,} folder(s) are empty: {_some(tree.empty)}"
    if tree.loops:
        yield f"{len(tree.loops):,} link(s) lead back to a folder around them: {_some(tree.loops)}"


def _tell_outside(paths: Sequence[str], layout: Pattern) -> Iterator[str]:
    if paths:
        listed = listing(map(printable, paths))
        yield f"{len(paths):,} file(s) do not fit {layout.text}, and are left out:\n{listed}"


def _some(paths: Sequence[str]) -> str:
    more = f", … ({len(paths) - 3:,} more)" if len(paths) > 3 else ""
    return ", ".join(printable(path) for path in paths[:3]) + more
