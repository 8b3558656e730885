"""The modality ``text`` as an object; its libraries are imported when they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from pipeline.modalities.content import Content
from pipeline.modalities.modality import Look, Modality, Proposal, share_of
from pipeline.modalities.text.recipe import TextRecipe

COLUMNS: Final = (
    "text",
    "sentence",
    "utterance",
    "content",
    "message",
    "tweet",
    "review",
    "body",
    "comment",
    "document",
    "question",
    "query",
    "description",
    "title",
    "headline",
)
SUFFIXES: Final = (".txt", ".text", ".md")
FEW_WORDS: Final = 2
NAMED_COLUMN: Final = 0.4  # a table that names files and has a text about each is one of files
NUMBERS: Final = re.compile(r"\.\d+")


def takes(suffix: str, head: Callable[[], bytes]) -> bool:
    """Say whether a file is a text: by its suffix or, where it has none or a number, by its first bytes."""
    if suffix in SUFFIXES:
        return True
    if suffix and not NUMBERS.fullmatch(suffix):
        return False
    first = head()
    return bool(first) and not any(byte < 9 or 13 < byte < 32 for byte in first)


def judge_content(recipe: TextRecipe) -> Content:
    """Return how the audit judges texts: those with more characters than the recipe allows are refused."""
    from pipeline.modalities.text import content

    check = partial(content.check, max_characters=recipe.text.max_characters)
    return Content(check, content.identity, settings=recipe.text.model_dump_json())


def propose(look: Look) -> Proposal | None:
    """Claim folders of texts, and tables with a column of texts or of the paths of text files."""
    if not look.is_table:
        share = look.share(takes)
        return Proposal(0.3 + 0.2 * share) if share else None
    column = look.pick(COLUMNS) or _longest(look)
    if column is not None:
        return Proposal(NAMED_COLUMN, look.table(text=column))
    files = next((name for name, files in look.paths.items() if share_of(files, takes) > 0.5), None)
    return None if files is None else Proposal(NAMED_COLUMN, look.table(path=files, text=""))


def _longest(look: Look) -> str | None:
    """Return the column with the longest values that are several words on average; None for none."""
    words = {
        column: sum(len(row[column].split()) for row in look.rows) / max(1, len(look.rows))
        for column in look.columns
        if column != look.label and column not in look.paths
    }
    best = max(words, key=lambda column: words[column], default=None)
    return best if best is not None and words[best] >= FEW_WORDS else None


TEXT: Final = Modality(
    name="text",
    recipe=TextRecipe,
    room="pipeline.modalities.text",
    samples_are_cells=True,
    columns=COLUMNS,
    content=judge_content,
    propose=propose,
    takes=takes,
    calibration_samples=2048,
    packages=("transformers", "tokenizers"),
)
