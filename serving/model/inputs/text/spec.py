"""The input spec of texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.model.files import FileRef
from serving.model.inputs.kind import InputSpec


class TextInputSpec(InputSpec):
    """How a text becomes model input.

    Attributes:
        tokenizer: The tokenizer's file, in the format of the `tokenizers` library, without padding or
            truncation of its own.
        max_tokens: Number of tokens, special ones included, past which a text is cut at its end.
        pad_id: Token that fills up the shorter texts of a batch. It is masked, so that it changes no answer.
        max_characters: Number of characters past which a text is refused.
    """

    modality: Literal["text"] = "text"
    tokenizer: FileRef
    max_tokens: int = Field(ge=2)
    pad_id: int = Field(ge=0)
    max_characters: int = Field(default=20_000, gt=0)

    def files(self) -> tuple[FileRef, ...]:
        """Return the tokenizer's file."""
        return (self.tokenizer,)
