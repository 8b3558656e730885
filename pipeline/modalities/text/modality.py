"""The modality ``text`` as an object; its libraries are imported when they are needed."""

from __future__ import annotations

from functools import partial
from typing import Final

from pipeline.modalities.content import Content
from pipeline.modalities.modality import Look, Modality, Proposal
from pipeline.modalities.text.recipe import TextRecipe

COLUMNS: Final = ("text", "sentence", "content", "message", "tweet", "review", "body")
SUFFIXES: Final = (".txt", ".text", ".md")
NAMED_COLUMN: Final = 0.4  # a table that names files and has a text about each is one of files


def judge_content(recipe: TextRecipe) -> Content:
    """Return how the audit judges texts: those with more characters than the recipe allows are refused."""
    from pipeline.modalities.text import content

    check = partial(content.check, max_characters=recipe.text.max_characters)
    return Content(check, content.identity, settings=recipe.text.model_dump_json())


def propose(look: Look) -> Proposal | None:
    """Claim a folder most of whose files have a suffix of texts, and tables with a column of texts."""
    if look.is_table:
        column = look.pick(COLUMNS)
        return None if column is None else Proposal(NAMED_COLUMN, look.table(text=column))
    texts = sum(count for suffix, count in look.suffixes.items() if suffix in SUFFIXES)
    return Proposal(0.5) if texts > sum(look.suffixes.values()) - texts else None


TEXT: Final = Modality(
    name="text",
    recipe=TextRecipe,
    room="pipeline.modalities.text",
    samples_are_cells=True,
    columns=COLUMNS,
    content=judge_content,
    propose=propose,
    calibration_samples=2048,
    packages=("transformers", "tokenizers"),
)
