"""Tokenisation of texts: UTF-8 bytes become token ids, by the bundle's input spec and its ``tokenizer.json``.

Training tokenises through :class:`TextPreprocessor` too, so that what is served is what was trained. Only the
`tokenizers` library is needed, not `transformers`.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from serving.model.errors import BundleError, InputRefusedError
from serving.model.files import read_checked
from serving.model.inputs.item import Feeds, Item
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.schemas import Truncation

BYTES_PER_CHARACTER = 4  # at most, in UTF-8
UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
"""Unicode's categories of spaces, control characters and such as have no width."""


def decode_text(data: bytes, max_characters: int) -> str:
    """Return the text that bytes hold.

    Args:
        data: UTF-8, with or without a byte-order mark.
        max_characters: Number of characters past which a text is refused.

    Raises:
        InputRefusedError: The text is empty or blank, is too long, is not UTF-8 (a lone surrogate is not), or
            holds a NUL character.
    """
    if len(data) > BYTES_PER_CHARACTER * max_characters:
        raise too_long(max_characters)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"The text is not UTF-8: {error.reason} at byte {error.start}."
        raise InputRefusedError("not_utf8", reason) from error
    if len(text) > max_characters:
        raise too_long(max_characters)
    if "\0" in text:
        reason = f"The text has a NUL character at position {text.index(chr(0))}. Remove it."
        raise InputRefusedError("nul_character", reason)
    if not any(unicodedata.category(character) not in UNSEEN for character in text):
        reason = "The text is empty. Send at least one character that can be seen."
        raise InputRefusedError("empty_input", reason)
    return text


def too_long(max_characters: int) -> InputRefusedError:
    """Return the refusal of a text past the limit."""
    reason = f"The text has more than {max_characters:,} characters. Send less."
    return InputRefusedError("text_too_long", reason, status=413)


class TextPreprocessor:
    """Tokenises texts, and pads token ids to batches.

    Args:
        spec: Input spec that says how.
        tokenizer_json: Bytes of the tokenizer's file.

    Raises:
        BundleError: ``invalid_tokenizer``: the `tokenizers` library cannot read the file.
    """

    def __init__(self, spec: TextInputSpec, tokenizer_json: bytes) -> None:
        self.spec = spec
        self._json = tokenizer_json
        try:
            self._whole = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        except Exception as error:  # `tokenizers` raises bare Exceptions
            reason = f"{spec.tokenizer.file}: cannot be read as a tokenizer ({error})."
            raise BundleError("invalid_tokenizer", reason) from error
        self._whole.no_truncation()
        self._whole.no_padding()

    @functools.cached_property
    def _cut(self) -> Tokenizer:
        """The tokenizer that cuts, which is read when the first text is too long: a start needs none."""
        cut = Tokenizer.from_str(self._json.decode("utf-8"))
        cut.no_padding()
        cut.enable_truncation(self.spec.max_tokens)
        return cut

    @classmethod
    def open(cls, spec: TextInputSpec, folder: Path) -> TextPreprocessor:
        """Read the tokenizer from the folder of a bundle or a checkpoint, and check its hash."""
        return cls(spec, read_checked(folder, spec.tokenizer))

    def decode(self, data: bytes) -> Item:
        """Return the token ids of one text, int64 of shape (tokens,); raises InputRefusedError."""
        return self.tokenize(decode_text(data, self.spec.max_characters))

    def tokenize(self, text: str) -> Item:
        """Return the token ids, int64 of shape (tokens,), of a text that :func:`decode_text` accepted."""
        ids = self._whole.encode(text).ids
        if not ids:
            raise InputRefusedError("empty_input", "The tokenizer finds no token in the text.")
        if len(ids) <= self.spec.max_tokens:
            return Item(np.array(ids, np.int64))
        # The tokenizer cuts, and not a slice, because the special tokens at the end must stay.
        kept = np.array(self._cut.encode(text).ids, np.int64)
        return Item(kept, Truncation(tokens=len(ids), used=len(kept)))

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """Return ``input_ids`` and ``attention_mask``, int64 of shape (batch, longest), right-padded."""
        shape = (len(arrays), max(len(ids) for ids in arrays))
        input_ids, mask = np.full(shape, self.spec.pad_id, np.int64), np.zeros(shape, np.int64)
        for row, ids in enumerate(arrays):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": mask}

    def blank(self) -> NDArray[np.int64]:
        """Return the ids of a short text of padding."""
        return np.full(min(8, self.spec.max_tokens), self.spec.pad_id, np.int64)
