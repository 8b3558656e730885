"""The audit of texts: which are usable, and which are the same."""

from __future__ import annotations

import hashlib
import unicodedata

from serving.model.errors import InputRefusedError
from serving.model.inputs.text.tokens import decode_text

REMEDIES = {
    "text_too_long": "Or set text.max_characters in the recipe to accept more; text.max_tokens are read.",
    "not_utf8": "Set data.encoding in the recipe to the encoding of the files, such as cp1252.",
}


def check(data: bytes, max_characters: int) -> None:
    """Raise InputRefusedError for a text that serving would refuse.

    Args:
        data: The bytes of the text.
        max_characters: Greatest number of characters that a text may have.
    """
    try:
        decode_text(data, max_characters)
    except InputRefusedError as refusal:
        remedy = REMEDIES.get(refusal.code)
        if remedy is None:
            raise
        raise InputRefusedError(refusal.code, f"{refusal.message} {remedy}", refusal.status) from refusal


def identity(data: bytes) -> str:
    """Return a SHA-256, in hex, that is the same for texts that a person reads as one.

    These differ in nothing but case, spacing and compatible forms of characters (NFKC), and to an encoder
    they are nearly the same: a copy in another split would be a test that was trained on.
    """
    text = unicodedata.normalize("NFKC", data.decode("utf-8-sig", errors="replace"))
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()
