"""How data are read: the recipe's section ``data``, found in the data, and what there is to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.data.draft.look import LABEL_COLUMNS, SPLIT_COLUMNS, Seen, Wishes, find_label, find_split
from pipeline.data.folders import explain_no_labels
from pipeline.data.labelled import Intake
from pipeline.data.labels import find_twins, likeliest, plain, refuse_measurements
from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.recognise import Reading, recognise
from pipeline.errors import DataError
from pipeline.modalities.modality import Look, Modality, Proposal
from pipeline.recipe.data import Data, Labels, Table
from pipeline.reporting.printable import printable

GROUPS = ("patient", "patient_id", "group", "group_id", "subject", "subject_id", "user", "user_id", "speaker")


@dataclass(frozen=True)
class Understood:
    """How data are read, and what there is to say of it.

    Attributes:
        data: The recipe's section ``data``.
        remarks: What the user is told, one sentence each.
        others: Other layouts that the folder could have.
        groups: A column by which samples could be kept together; None, the default, for none.
        is_table: Whether the source is a table, by default not.
        by_path: Whether a table names files, rather than holding the samples, by default not.
    """

    data: Data
    remarks: tuple[str, ...]
    others: tuple[Reading, ...] = ()
    groups: str | None = None
    is_table: bool = False
    by_path: bool = False


def understand_data(
    source: str, modality: Modality, seen: Seen, proposal: Proposal, wishes: Wishes
) -> Understood:
    """Return the section ``data`` of the recipe, and what there is to say of it.

    Raises:
        DataError: No folder, name or column looks like labels.
    """
    if seen.look.is_table:
        return _understand_table(source, modality, seen, proposal, wishes)
    assert seen.place.tree is not None, "what is no table is a folder"
    encoding = wishes.encoding or (_encoding(seen) if modality.samples_are_cells else "utf-8")
    readings = [Reading(wishes.layout, "as you say")] if wishes.layout else recognise(seen.place.tree.files)
    if not readings:
        raise DataError(explain_no_labels(seen.place.tree))
    best, *others = readings
    told = [f"read as: {best.said} (data.layout: {best.layout!r})"]
    told += [f"could be: {other.said} (data.layout: {other.layout!r})" for other in others]
    data = Data(source=source, layout=best.layout, leave_out=best.leave_out, encoding=encoding)
    return Understood(data, tuple(told), tuple(others))


def _understand_table(
    source: str, modality: Modality, seen: Seen, proposal: Proposal, wishes: Wishes
) -> Understood:
    table, look = proposal.table or Table(), seen.look
    by_path = table.path in look.columns and (
        not modality.samples_are_cells or table.text not in look.columns
    )
    content = table.path if by_path else table.text
    label = look.label or find_label(look, content)
    if label is None:
        raise DataError(
            f"{look.source}: no column looks like the labels (its columns: "
            f"{', '.join(map(printable, look.columns))}; known are {', '.join(LABEL_COLUMNS)}). "
            "Name it: --label COLUMN"
        )
    table = table.model_copy(
        update={"label": label, "split": wishes.split or find_split(look, (content, label))}
    )
    form = seen.forms.get(content) if by_path else None
    if form is not None:
        table = table.model_copy(update={"strip": form.strip, "suffix": form.suffix})
    others = [name for name in look.columns if name.lower() in LABEL_COLUMNS and name not in (label, content)]
    told = [
        f"read as: `{printable(content)}` is the {'path' if by_path else 'sample'}, "
        f"`{printable(label)}` the label"
    ]
    told += [f"could be: `{printable(name)}` as the label (--label)" for name in others]
    told += [] if table.split else _tell_no_splits(look)
    data = Data(
        source=source,
        layout=wishes.layout or "auto",
        root=str(seen.place.root / form.root) if form is not None and form.root else None,
        table=table,
    )
    groups = next((name for name in look.columns if name.lower() in GROUPS), None)
    return Understood(data, tuple(told), groups=groups, is_table=True, by_path=by_path)


def _tell_no_splits(look: Look) -> list[str]:
    """Tell of a column of splits that is not kept, since some of its values are no known names of splits."""
    told = []
    for name in look.columns:
        if name.strip().lower() in SPLIT_COLUMNS:
            values = dict.fromkeys(row[name] for row in look.rows)
            odd = [f"'{printable(value)}'" for value in values if split_named(value) is None]
            if odd and len(odd) < len(values):
                told.append(
                    f"could be: `{printable(name)}` as the split, but {', '.join(odd[:3])} is no known name "
                    "of one (data.table.split, data.splits.names)"
                )
    return told


def _encoding(seen: Seen) -> str:
    """Return the encoding of a folder's texts: UTF-8, or the usual one of Windows where some are not."""
    for path in seen.look.files:
        try:
            path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            return "cp1252"
        except OSError:
            continue
    return "utf-8"


def settle_labels(counts: Mapping[str, int]) -> Labels:
    """Return the section ``data.labels`` that makes labels which look like one another one class."""
    refuse_measurements(counts)
    rename = {label: plain(label) for label in counts if plain(label) != label and not label.isprintable()}
    renamed = Counter[str]()
    for label, count in counts.items():
        renamed[rename.get(label, label)] += count
    for group in find_twins(renamed):
        best = likeliest(group, renamed)
        rename |= {label: best for label in counts if rename.get(label, label) in group and label != best}
    return Labels(rename={old: new for old, new in rename.items() if old != new})


def with_labels(understood: Understood, labels: Labels, intake: Intake) -> Understood:
    """Return what was understood together with the labels, and what there is to say of them.

    Args:
        understood: How the data are read.
        labels: The section that :func:`settle_labels` gives.
        intake: The samples, read without judging their labels.
    """
    missing = any("without a label" in remark for remark in intake.remarks)
    labels = labels.model_copy(update={"on_missing": "skip" if missing else "refuse"})
    names = Counter([*{example.label for example in intake.examples} - {*labels.rename}])
    names.update(labels.rename.values())
    told = [
        f"read as one class: '{printable(old)}' as '{new}' (data.labels.rename; to keep both: on_twins: keep)"
        if names[new] > 1
        else f"the label '{printable(old)}' becomes '{new}' (data.labels.rename)"
        for old, new in labels.rename.items()
    ]
    data = understood.data.model_copy(update={"labels": labels})
    return replace(understood, data=data, remarks=(*understood.remarks, *told))
