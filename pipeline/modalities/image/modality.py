"""The modality ``image`` as an object; its libraries are imported when they are needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.modalities.content import Content
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.modalities.modality import Look, Modality, Proposal

COLUMNS: Final = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
# A folder or a table of files is taken for pictures unless another kind is surer.
ANY_FILES: Final = 0.25
NAMED_COLUMN: Final = 0.5


def judge_content(recipe: ImageRecipe) -> Content:
    """Return how the audit judges pictures: by the rules that training and serving decode them by."""
    from pipeline.modalities.image.content import create_content
    from pipeline.modalities.image.rules import decoding_rules

    rules = decoding_rules(recipe.image)
    return create_content(rules, json.dumps(rules))


def propose(look: Look) -> Proposal | None:
    """Claim any folder, and tables with a column that names files; of deep greys the window is proposed."""
    column = look.pick(COLUMNS)
    if look.is_table and column is None:
        return None
    values = {"window": _find_window(getattr(look, "files", ()))}
    if column is None:
        return Proposal(ANY_FILES, values=values)
    return Proposal(NAMED_COLUMN, look.table(path=column), values)


def _find_window(files: Sequence[Path]) -> list[float] | None:
    if not files:
        return None
    from pipeline.modalities.image.window import find_window

    window = find_window(files)
    return None if window is None else list(window)


IMAGE: Final = Modality(
    name="image",
    recipe=ImageRecipe,
    room="pipeline.modalities.image",
    samples_are_cells=False,
    columns=COLUMNS,
    content=judge_content,
    propose=propose,
    packages=("timm", "torchvision", "pillow"),
)
