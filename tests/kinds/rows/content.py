"""What makes a row usable, and what makes two of them the same."""

from __future__ import annotations

import hashlib
import json

from pipeline.modalities.content import Content

from .served import RowInputSpec, RowPreprocessor


def judge(columns: int) -> Content:
    return Content(RowPreprocessor(RowInputSpec(columns=columns)).decode, identity, settings=str(columns))


def identity(data: bytes) -> str:
    """Two rows are the same when their numbers are."""
    return hashlib.sha256(repr([float(number) for number in json.loads(data)]).encode()).hexdigest()
