"""What makes a text usable, and what makes two of them the same."""

from __future__ import annotations

import hashlib
import unicodedata

from serving.model.inputs.text.tokens import decode_text


def check(data: bytes, max_characters: int) -> None:
    """Raise InputRefusedError for what serving would refuse."""
    decode_text(data, max_characters)


def identity(data: bytes) -> str:
    """Two texts are the same when they differ in nothing but case, spacing and compatible forms of characters (NFKC).

    A person reads them as one, and an encoder nearly so: a copy in another split would be a test that was
    trained on.
    """
    text = unicodedata.normalize("NFKC", data.decode("utf-8-sig", errors="replace"))
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()
