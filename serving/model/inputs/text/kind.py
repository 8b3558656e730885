"""Texts, as one kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from serving.model.errors import InputRefusedError
from serving.model.files import FileRef
from serving.model.inputs.kind import BytesTensor, InputKind, InputSpec, JsonBody, TextControl, name_json_type

if TYPE_CHECKING:
    from serving.model.inputs.item import Preprocessor


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


def encode_text(value: object, place: str) -> bytes:
    """Return the UTF-8 bytes of a JSON value that must be a string; raises InputRefusedError."""
    if not isinstance(value, str):
        text = f"`{place}` is {name_json_type(value)}, but must be a string."
        raise InputRefusedError("wrong_json_type", text)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        text = f"`{place}` has half of a surrogate pair at position {error.start}."
        raise InputRefusedError("lone_surrogate", text) from error


def _describe(spec: TextInputSpec) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": spec.max_characters}


def _open(spec: TextInputSpec, folder: Path) -> Preprocessor:
    from serving.model.inputs.text.tokens import TextPreprocessor

    return TextPreprocessor.open(spec, folder)


TEXT: Final = InputKind(
    name="text",
    noun="text",
    plural="texts",
    invitation="Give it a text, and it says what kind it is.",
    max_body_bytes=8 * 1024 * 1024,
    body=JsonBody(
        "text",
        "texts",
        encode_text,
        _describe,
        examples=("What a day!", "Not again."),
        shape='"…"',
        accepts_plain_text=True,
    ),
    tensors=(BytesTensor(is_text=True),),
    control=TextControl("Text", "Write or paste a text"),
    spec=TextInputSpec,
    open_preprocessor=_open,
    bento_service="serving.service:GraftTextService",
)
