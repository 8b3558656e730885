"""The names by which data say to which split a sample belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pipeline.recipe.data import Split

KNOWN: Final[Mapping[str, Split]] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validate", "validation", "dev", "development", "devel", "eval"), "validation"
    ),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("calib", "calibration"), "calibration"),
}
# Words that stand beside a split's name without changing it: `seg_train`, `test_set`, `images-val`.
BESIDE: Final = frozenset(
    {"set", "sets", "data", "dataset", "split", "seg", "images", "image", "img", "imgs", "texts", "folder"}
)


def split_named(name: str, own: Mapping[str, Split] | None = None) -> Split | None:
    """Return the split that a name stands for; None where it stands for none.

    Args:
        name: The name of a folder or a file without its suffix, or the value of a column.
        own: Further names, as the recipe's ``data.splits.names`` has them; they come first.
    """
    if own and name in own:
        return own[name]
    words = [word for word in re.split(r"[\W_\d]+", name.strip().casefold()) if word]
    left = [word for word in words if word not in BESIDE]
    return KNOWN.get(left[0]) if len(left) == 1 else None
