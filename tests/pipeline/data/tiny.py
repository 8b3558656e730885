"""Tiny folders and tables of samples."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pipeline.data.intake import read_labelled
from pipeline.data.labelled import Intake, Labelled
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Data
from tests.conftest import make_picture


@cache
def picture(index: int) -> bytes:
    """One of many different pictures."""
    return make_picture("bars" if index % 2 else "plain", index)


def make_files(root: Path, names: Iterable[str], content: bytes = b"") -> Path:
    """Files of one content at paths below a folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def make_pictures(root: Path, names: Iterable[str]) -> Path:
    """Different pictures at paths below a folder."""
    for index, name in enumerate(names):
        make_files(root, [name], picture(index))
    return root


def read(source: Path, kind: str = "image", **section: object) -> Intake:
    """The samples of a source, read as a recipe's section ``data`` says."""
    return read_labelled(Data.model_validate({"source": str(source), **section}), find_modality(kind))


def pairs(intake: Intake) -> list[tuple[str, str]]:
    """The source and the label of each sample."""
    return [(example.source, example.label) for example in intake.examples]


def key(example: Labelled) -> tuple[str, str, str | None, str | None]:
    """Everything of a sample that can be compared."""
    return example.source, example.label, example.text, example.split
