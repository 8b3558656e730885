"""The modality ``image`` as an object; its libraries are imported when they are needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pipeline.modalities.content import Content
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.modalities.modality import Look, Modality, Proposal, share_of
from serving.model.inputs.image.boxes import is_avif, is_heic

COLUMNS: Final = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
FOUND_FILES: Final = 0.5
NAMED_COLUMN: Final = 0.3  # a column of names that lead nowhere is less sure than one of texts
SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".hif"}
)
MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def takes(suffix: str, head: Callable[[], bytes]) -> bool:
    """Say whether a file is a picture: by its suffix, or else by its first bytes."""
    if suffix in SUFFIXES:
        return True
    first = head()
    is_webp = first[:4] == b"RIFF" and first[8:12] == b"WEBP"
    is_bmp = first[:2] == b"BM" and first[6:10] == bytes(4)
    return first.startswith(MAGIC) or is_webp or is_bmp or is_avif(first) or is_heic(first)


def judge_content(recipe: ImageRecipe) -> Content:
    """Return how the audit judges pictures: by the rules that training and serving decode them by."""
    from pipeline.modalities.image.content import create_content
    from pipeline.modalities.image.rules import decoding_rules

    rules = decoding_rules(recipe.image)
    return create_content(rules, json.dumps(rules))


def warn_of_labels(labels: Sequence[str]) -> str | None:
    """Return why pictures with these labels must not be mirrored; None where the labels say nothing."""
    from pipeline.modalities.image.sides import why_not_mirror

    why = why_not_mirror(labels, "horizontal")
    return why and f"pictures are not mirrored in training, since {why} (finetune.augment.horizontal_flip)"


def propose(look: Look) -> Proposal | None:
    """Claim folders of pictures, and tables that name or hold them; of deep greys the window is proposed."""
    if not look.is_table:
        share = look.share(takes)
        return Proposal(0.4 + 0.1 * share, values=_values(look.files)) if share else None
    for column, files in look.paths.items():
        if share_of(files, takes) > 0.5:
            return Proposal(FOUND_FILES, look.table(path=column), _values(files))
    if look.binary:
        return Proposal(FOUND_FILES, look.table(path=look.pick(COLUMNS) or look.binary[0]), _values(()))
    named = look.pick(COLUMNS)
    return None if named is None else Proposal(NAMED_COLUMN, look.table(path=named), _values(()))


def _values(files: Sequence[Path]) -> dict[str, object]:
    """Return what the recipe says of some pictures: the window of their greys, if these are deep."""
    if not files:
        return {"window": None}
    from pipeline.modalities.image.window import find_window

    window = find_window(files)
    return {"window": None if window is None else list(window)}


IMAGE: Final = Modality(
    name="image",
    recipe=ImageRecipe,
    room="pipeline.modalities.image",
    samples_are_cells=False,
    columns=COLUMNS,
    content=judge_content,
    propose=propose,
    takes=takes,
    warn_of_labels=warn_of_labels,
    packages=("timm", "torchvision", "pillow", "simplejpeg", "cykooz-resizer", "pi-heif"),
)
