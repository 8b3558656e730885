from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.output import emit
from pipeline.files.records import Record


class Inner(Record):
    pair: tuple[float, float] = (0.1 + 0.2, 1.0)


@dataclass(frozen=True)
class Outer:
    place: Path
    inner: Inner
    nothing: None = None


@pytest.mark.parametrize("document", [{"a": [1, None, "ü"]}, [], "text", {"a": 1.5e-300}])
def test_emit_prints_json_values_as_they_are(document: object, capsys: pytest.CaptureFixture[str]) -> None:
    emit(document, "for people", as_json=True)
    assert capsys.readouterr().out == json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def test_emit_prints_the_fields_of_records_as_keys(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Outer(Path("a/b"), Inner()), "for people", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == {"place": "a/b", "inner": {"pair": [0.1 + 0.2, 1.0]}, "nothing": None}


def test_emit_prints_the_text_when_no_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Outer(Path("a/b"), Inner()), "for people", as_json=False)
    assert capsys.readouterr().out == "for people\n"
