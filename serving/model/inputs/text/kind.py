"""Texts, as one kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import BytesTensor, InputKind, JsonBody, TextControl, name_json_type
from serving.model.inputs.text.spec import TextInputSpec

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

    from serving.model.inputs.item import Preprocessor

RUN_TOKENS: Final = 256
"""Tokens that several texts share a run up to on a CPU, padding included.

A run of one short text mostly waits for the weights, which a run of several reads once: on one thread a tweet
costs all-MiniLM-L6-v2 9.8 ms of CPU alone, 7.3 with runs of 128 tokens, 7.0 with 256, 7.1 with 512 and 7.6
with 1,024. The shortest run of the best serves other requests soonest. Pictures, which the same measurement
gives 1.0 (EfficientNet-Lite0) to 1.2 (ViT) times the speed at best, run alone.
"""


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


def _describe(spec: TextInputSpec) -> JsonSchemaValue:
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
    run_elements=RUN_TOKENS,
)
