"""The kind on the pipeline's side, as an object."""

from __future__ import annotations

import json

from pipeline.modalities.content import Content
from pipeline.modalities.modality import Look, Modality, Proposal

from .recipe import RowRecipe


def judge_content(recipe: RowRecipe) -> Content:
    from . import content

    return content.judge(recipe.row.columns)


def propose(look: Look) -> Proposal | None:
    """Take tables with a column whose values are lists of as many numbers each."""
    for column in look.columns if look.rows else ():
        lengths = {_length(row[column]) for row in look.rows}
        if len(lengths) == 1 and (length := lengths.pop()):
            return Proposal(0.9, look.table(text=column), {"columns": length})
    return None


def _length(value: str) -> int | None:
    try:
        row = json.loads(value)
    except ValueError:
        return None
    return len(row) if isinstance(row, list) else None


ROW = Modality(
    name="row",
    recipe=RowRecipe,
    room=__package__,
    samples_are_cells=True,
    columns=("row",),
    content=judge_content,
    propose=propose,
    calibration_samples=64,
)
