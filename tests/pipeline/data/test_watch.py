"""What is told of the texts of a table: rows that a quote may have merged, and the longest."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.intake import read_labelled
from pipeline.data.watch import TextWatch
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Data


def test_read_labelled_lists_texts_that_hold_a_separator_and_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"one, and\ntwo",x\n"a, b",y\n"c\nd",x\n')
    told = "\n".join(read_labelled(Data(source=str(path)), find_modality("text")).remarks)
    assert "1 text(s) hold a separator and a line break" in told
    assert "t.csv, line 2: one, and\\ntwo" in told
    assert "the longest texts: t.csv, line 2 (12 characters), t.csv, line 4 (4 characters)" in told


def test_finish_says_nothing_when_nothing_was_seen() -> None:
    assert TextWatch().finish() == []
