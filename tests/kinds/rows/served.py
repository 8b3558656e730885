"""Serving's side: rows of numbers, as a JSON list or as FP32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from serving.model.errors import InputRefusedError
from serving.model.inputs.item import Feeds, Item
from serving.model.inputs.kind import ArrayTensor, BytesTensor, InputKind, InputSpec, JsonBody, TextControl


class RowInputSpec(InputSpec):
    """A row of so many numbers."""

    modality: Literal["row"] = "row"
    columns: int = Field(ge=1)


class RowPreprocessor:
    """Reads rows."""

    def __init__(self, spec: RowInputSpec) -> None:
        self.spec = spec

    def decode(self, data: bytes) -> Item:
        """float32 of shape (columns,)."""
        try:
            row = np.array(json.loads(data), np.float32)
        except ValueError as error:
            raise InputRefusedError("not_a_row", "The row is not a list of numbers.") from error
        if row.shape != (self.spec.columns,) or not np.isfinite(row).all():
            raise InputRefusedError("not_a_row", f"The row must have {self.spec.columns} finite numbers.")
        return Item(row)

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """float32 of shape (batch, columns)."""
        return {"row": np.stack(arrays)}

    def blank(self) -> NDArray[np.float32]:
        """Zeros."""
        return np.zeros(self.spec.columns, np.float32)


def encode(value: object, place: str) -> bytes:
    if not isinstance(value, list):
        raise InputRefusedError("wrong_json_type", f"`{place}` must be a list of numbers.")
    return json.dumps(value).encode()


def open_preprocessor(spec: RowInputSpec, _: Path) -> RowPreprocessor:
    return RowPreprocessor(spec)


ROW = InputKind(
    name="row",
    noun="row",
    plural="rows",
    invitation="Give it a row of numbers.",
    max_body_bytes=1024 * 1024,
    body=JsonBody(
        "row",
        "rows",
        encode,
        lambda spec: {
            "type": "array",
            "items": {"type": "number"},
            "minItems": spec.columns,
            "maxItems": spec.columns,
        },
        examples=([1.0, 0.5, -1.0], [0.0, 0.0, 0.0]),
        shape="[1.5, …]",
    ),
    tensors=(
        ArrayTensor("FP32", lambda spec: (spec.columns,), "the numbers of a row"),
        BytesTensor(is_text=True),
    ),
    control=TextControl("Row", "[1.5, 2, -1]", is_json=True),
    spec=RowInputSpec,
    open_preprocessor=open_preprocessor,
)
