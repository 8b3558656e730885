"""Which key of a recipe keeps samples together, so that nobody divides them one by one."""

from __future__ import annotations

from pipeline.data.intake import read_labelled
from pipeline.modalities.registry import find_modality
from pipeline.recipe.sections import Recipe


def key_of_groups(recipe: Recipe) -> str | None:
    """Return the key by which samples belong together; None where each is on its own.

    Groups may also come from the layout of a folder, which only the examples themselves show.

    Args:
        recipe: The recipe.

    Raises:
        DataError: The data cannot be read.
    """
    data = recipe.data
    if data.group_by is not None:
        return "data.group_by"
    if data.split_by_time is not None:
        return "data.split_by_time"
    examples = read_labelled(data, find_modality(recipe.modality)).examples
    return f"data.layout ({data.layout})" if any(each.group is not None for each in examples) else None
