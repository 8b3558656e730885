"""The modality ``image`` as an object; its libraries are imported when they are needed."""

from __future__ import annotations

from typing import Final

from pipeline.modalities.content import Content
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.modalities.modality import Look, Modality, Proposal

COLUMNS: Final = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
# A folder or a table of files is taken for pictures unless another kind is surer.
ANY_FILES: Final = 0.25
NAMED_COLUMN: Final = 0.5


def judge_content(_: ImageRecipe) -> Content:
    """Return how the audit judges pictures; nothing in the recipe changes it."""
    from pipeline.modalities.image import content

    return Content(content.check, content.identity)


def propose(look: Look) -> Proposal | None:
    """Claim any folder, and tables with a column that names files."""
    if not look.is_table:
        return Proposal(ANY_FILES)
    column = look.pick(COLUMNS)
    return None if column is None else Proposal(NAMED_COLUMN, look.table(path=column))


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
