"""The name of an image, for programs that keep images."""

from __future__ import annotations

import hashlib
import re
from typing import Final

# A part of a name in the reference grammar of the OCI distribution. A run's name may have other separators.
_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
HASH_CHARACTERS: Final = 6  # of a run's name, where the image's is not the same


def name_image(name: str, version: str) -> str:
    """Return the name of an image with its tag, such as ``solar-cells:3445eba7cbc0``.

    What an image may be called stays. Another name gets a part of its hash, so that no two runs become one.

    Args:
        name: Name of the run, in lower-case letters, digits, ``.``, ``_`` and ``-``.
        version: Version of the bundle.
    """
    if not _PART.fullmatch(name):
        digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_CHARACTERS]
        name = f"{re.sub(r'[._-]+', '-', name)}-{digest}"
    return f"{name}:{version}"
