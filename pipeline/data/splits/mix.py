"""The mix of labels in each split, as people are shown it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.data.splits.member import Member
from pipeline.files.samples import SPLITS, Split
from pipeline.reporting.printable import printable

SHOWN = 20
LONGEST = 30


def describe_mix(members: Sequence[Member], splits: Sequence[Split]) -> str:
    """Return a table of the labels, with the number and the share of their samples in each split.

    The largest labels are shown, then all labels together, then the label and split whose share is farthest
    from that of all labels.

    Args:
        members: The samples.
        splits: The split of each sample.
    """
    counts = Counter((member.label, split) for member, split in zip(members, splits, strict=True))
    sizes, totals = Counter(member.label for member in members), Counter(splits)
    used = [split for split in SPLITS if totals[split]]
    ranked = sorted(sizes, key=lambda label: (-sizes[label], label))
    rows = [
        (printable(label, LONGEST), *(_cell(counts[label, split], sizes[label]) for split in used))
        for label in ranked[:SHOWN]
    ]
    if len(ranked) > SHOWN:
        rows.append((f"… and {len(ranked) - SHOWN:,} more", *("" for _ in used)))
    rows.append(("all labels", *(_cell(totals[split], len(splits)) for split in used)))
    away, label, split = max(
        (abs(counts[label, split] / sizes[label] - totals[split] / len(splits)), label, split)
        for label in ranked
        for split in used
    )
    return (
        f"{_table([('label', *used), *rows])}\n"
        f"largest deviation: {100 * away:.1f} points ({printable(label, LONGEST)} in {split}: "
        f"{_cell(counts[label, split], sizes[label]).strip()})"
    )


def _cell(count: int, whole: int) -> str:
    return f"{count:,} {100 * count / whole:5.1f} %"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with columns of equal width, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
