"""Labels in the names of files, as in ``cat.0.jpg`` or ``dog_17.png``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

NUMBERED: Final = re.compile(r"(?P<label>[^\W\d_][^\d]*)(?P<between>[._-])\d+\.[^.]+", re.UNICODE)
LEAST, MOST = 3, 200


def find_stem_pattern(names: Sequence[str]) -> str | None:
    """Return the pattern of names that begin with their class and end with a number; None where they do not.

    Args:
        names: Names of the files, with their suffixes.
    """
    found = [NUMBERED.fullmatch(name) for name in names]
    labels = Counter(each["label"] for each in found if each)
    between = {each["between"] for each in found if each}
    if not all(found) or len(between) != 1 or not 2 <= len(labels) <= MOST or min(labels.values()) < LEAST:
        return None
    separator = between.pop()
    if any(separator in label for label in labels):  # as in `great_dane_17.jpg`
        return f"{{label}}{separator}#.*"
    return f"{{label}}{separator}*"
