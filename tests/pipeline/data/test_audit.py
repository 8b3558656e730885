from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.audit import audit
from pipeline.data.labelled import Labelled
from pipeline.errors import DataError
from pipeline.modalities.content import Content
from pipeline.modalities.image.modality import judge_content
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.modalities.text import content as text
from pipeline.recipe.data import Data
from tests.conftest import make_picture

RECIPE = ImageRecipe.model_validate({"name": "x", "backbone": {"name": "x"}, "data": {"source": "x"}})
PICTURES = judge_content(RECIPE)
TEXTS = Content(lambda data: text.check(data, 100), text.identity)
A, B, C = (make_picture("bars", index) for index in range(3))


def files(folder: Path, **contents: tuple[str, bytes | None]) -> list[Labelled]:
    found = []
    for name, (label, content) in contents.items():
        path = folder / name
        if content is not None:
            path.write_bytes(content)
        found.append(Labelled(str(path), label, path))
    return found


BAD = {"empty": ("x", b""), "cut": ("x", A[:-500]), "text": ("x", b"hello"), "missing": ("x", None)}


def test_audit_refuses_and_lists_every_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit(files(tmp_path, good=("x", B), **BAD), Data(source=""), PICTURES)
    assert "4 example(s)" in str(refused.value)
    assert all(str(tmp_path / name) in str(refused.value) for name in BAD)
    assert "good" not in str(refused.value)
    assert "data.on_unreadable: skip" in str(refused.value)


def test_audit_skips_and_counts_when_the_recipe_allows(tmp_path: Path) -> None:
    found = audit(files(tmp_path, good=("x", B), **BAD), Data(source="", on_unreadable="skip"), PICTURES)
    assert [item.example.path.name for item in found.kept] == ["good"]
    assert {Path(path).name for path in found.unreadable} == set(BAD)
    assert found.unreadable[str(tmp_path / "missing")] == "does not exist"


def test_audit_refuses_when_equal_files_have_different_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit(files(tmp_path, a=("x", A), copy=("y", A), b=("x", B)), Data(source=""), PICTURES)
    assert f"{tmp_path / 'a'} (x) = {tmp_path / 'copy'} (y)" in str(refused.value)


def test_audit_leaves_out_all_sides_of_a_conflict_when_skipping(tmp_path: Path) -> None:
    found = audit(
        files(tmp_path, a=("x", A), copy=("y", A), b=("x", B), c=("y", C)),
        Data(source="", on_conflict="skip"),
        PICTURES,
    )
    assert [item.example.path.name for item in found.kept] == ["b", "c"]
    assert found.conflicts == [{str(tmp_path / "a"): "x", str(tmp_path / "copy"): "y"}]


def test_audit_keeps_one_of_repeats_so_that_none_leaks_across_splits(tmp_path: Path) -> None:
    found = audit(files(tmp_path, a=("x", A), b=("x", A), c=("x", C)), Data(source=""), PICTURES)
    assert [item.example.path.name for item in found.kept] == ["a", "c"]
    assert found.repeats == {str(tmp_path / "b"): str(tmp_path / "a")}


def texts(*pairs: tuple[str, str]) -> list[Labelled]:
    return [Labelled(f"t.csv:{line}", label, text=words) for line, (words, label) in enumerate(pairs, 2)]


def test_audit_takes_texts_for_the_same_when_only_case_space_or_form_differ() -> None:
    found = audit(
        texts(("Good  day", "x"), ("good day", "x"), ("\uff47ood day", "x"), ("good days", "x")),
        Data(source=""),
        TEXTS,
    )
    assert [item.example.text for item in found.kept] == ["Good  day", "good days"]
    assert found.repeats == {"t.csv:3": "t.csv:2", "t.csv:4": "t.csv:2"}


def test_audit_drops_every_side_of_texts_with_several_labels_and_counts_them() -> None:
    data = Data(source="", on_conflict="skip")
    pairs = (("same", "x"), ("SAME", "y"), ("same ", "x"), ("other", "y"), ("own", "x"))
    found = audit(texts(*pairs), data, TEXTS)
    assert [item.example.text for item in found.kept] == ["other", "own"]
    assert found.conflicts == [{"t.csv:2": "x", "t.csv:3": "y", "t.csv:4": "x"}]


def test_audit_names_the_line_of_each_text_that_serving_would_refuse() -> None:
    with pytest.raises(DataError) as refused:
        audit(texts(("fine", "x"), ("  ", "x"), ("a\0b", "y"), ("long" * 30, "y")), Data(source=""), TEXTS)
    assert all(f"t.csv:{line}: " in str(refused.value) for line in (3, 4, 5))
    assert "t.csv:2" not in str(refused.value)
