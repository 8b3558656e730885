"""Texts: UTF-8 bytes to token ids, by the bundle's input spec and its ``tokenizer.json``.

Training tokenises through :class:`TextPreprocessor` too, so what is served is what was trained. Only the `tokenizers`
library is needed, not `transformers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from serving.model.errors import BundleError, InputRefusedError
from serving.model.files import FileRef, read_checked
from serving.model.inputs.item import Feeds, Item
from serving.model.schemas import Truncation

BYTES_PER_CHARACTER = 4  # at most, in UTF-8


class TextInputSpec(BaseModel):
    """How a text becomes model input.

    Attributes:
        tokenizer: The tokenizer's file, in the format of the `tokenizers` library, without padding or truncation of its own.
        max_tokens: Longer texts are cut at the end; special tokens count and are kept.
        pad_id: The token that fills up the shorter texts of a batch; masked, so that it changes no answer.
        max_characters: Longer texts are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Literal["text"] = "text"
    tokenizer: FileRef
    max_tokens: int = Field(ge=2)
    pad_id: int = Field(ge=0)
    max_characters: int = Field(default=20_000, gt=0)

    def files(self) -> tuple[FileRef, ...]:
        """The files that it needs."""
        return (self.tokenizer,)


def decode_text(data: bytes, max_characters: int) -> str:
    """The text that bytes hold.

    Args:
        data: UTF-8, with or without a byte-order mark.
        max_characters: The most that is accepted.

    Raises:
        InputRefusedError: Empty or blank, too long, not UTF-8 (a lone surrogate is not), or with a NUL.
    """
    if len(data) > BYTES_PER_CHARACTER * max_characters:
        raise too_long(max_characters)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefusedError("not_utf8", f"The text is not UTF-8: {error.reason} at byte {error.start}.") from error
    if len(text) > max_characters:
        raise too_long(max_characters)
    if "\0" in text:
        raise InputRefusedError("nul_character", f"The text has a NUL character at position {text.index(chr(0))}. Remove it.")
    if not text.strip():
        raise InputRefusedError("empty_input", "The text is empty. Send at least one character that is not a space.")
    return text


def too_long(max_characters: int) -> InputRefusedError:
    """The refusal of a text past the limit."""
    return InputRefusedError("text_too_long", f"The text has more than {max_characters:,} characters. Send less.", status=413)


class TextPreprocessor:
    """Bytes to token ids, and ids to padded batches.

    Args:
        spec: The input spec.
        tokenizer_json: The bytes of its tokenizer's file.

    Raises:
        BundleError: ``invalid_tokenizer``: `tokenizers` cannot read it.
    """

    def __init__(self, spec: TextInputSpec, tokenizer_json: bytes) -> None:
        self.spec = spec
        try:
            self._whole = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
            self._cut = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        except Exception as error:  # `tokenizers` raises bare Exceptions
            raise BundleError("invalid_tokenizer", f"{spec.tokenizer.file}: cannot be read as a tokenizer ({error}).") from error
        self._whole.no_truncation()
        self._whole.no_padding()
        self._cut.no_padding()
        self._cut.enable_truncation(spec.max_tokens)

    @classmethod
    def open(cls, spec: TextInputSpec, folder: Path) -> TextPreprocessor:
        """Read the tokenizer from a bundle's or a checkpoint's folder, and check its hash."""
        return cls(spec, read_checked(folder, spec.tokenizer))

    def decode(self, data: bytes) -> Item:
        """Token ids, int64 of shape (tokens,), of one text; raises InputRefusedError."""
        return self.tokenize(decode_text(data, self.spec.max_characters))

    def tokenize(self, text: str) -> Item:
        """Token ids, int64 of shape (tokens,), of a text that :func:`decode_text` accepted."""
        ids = self._whole.encode(text).ids
        found = len(ids)
        if found == 0:
            raise InputRefusedError("empty_input", "The tokenizer finds no token in the text.")
        if found <= self.spec.max_tokens:
            return Item(np.array(ids, np.int64))
        # Cut by the tokenizer and not by slicing, since the special tokens at the end stay.
        kept = np.array(self._cut.encode(text).ids, np.int64)
        return Item(kept, Truncation(tokens=found, used=len(kept)))

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """``input_ids`` and ``attention_mask``, int64 of shape (batch, longest), padded on the right."""
        shape = (len(arrays), max(len(ids) for ids in arrays))
        input_ids, mask = np.full(shape, self.spec.pad_id, np.int64), np.zeros(shape, np.int64)
        for row, ids in enumerate(arrays):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": mask}

    def blank(self) -> NDArray[np.int64]:
        """Some tokens."""
        return np.full(min(8, self.spec.max_tokens), self.spec.pad_id, np.int64)
