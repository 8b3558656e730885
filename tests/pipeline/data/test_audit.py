from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pipeline.data.audit import audit_files
from pipeline.data.intake import LabelledFile
from pipeline.data.stage import AUDIT_SPEC
from pipeline.errors import DataError
from pipeline.recipe import Data
from serving.inputs.image import decode_image
from tests.conftest import make_picture

CHECK = partial(decode_image, spec=AUDIT_SPEC)
A, B, C = (make_picture("bars", index) for index in range(3))


def files(folder: Path, **contents: tuple[str, bytes | None]) -> list[LabelledFile]:
    found = []
    for name, (label, content) in contents.items():
        path = folder / name
        if content is not None:
            path.write_bytes(content)
        found.append(LabelledFile(path, label))
    return found


BAD = {"empty": ("x", b""), "cut": ("x", A[:-500]), "text": ("x", b"hello"), "missing": ("x", None)}


def test_audit_files_refuses_and_lists_every_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit_files(files(tmp_path, good=("x", B), **BAD), Data(source=""), CHECK)
    assert "4 file(s)" in str(refused.value)
    assert all(str(tmp_path / name) in str(refused.value) for name in BAD)
    assert "good" not in str(refused.value)
    assert "data.on_unreadable: skip" in str(refused.value)


def test_audit_files_skips_and_counts_when_the_recipe_allows(tmp_path: Path) -> None:
    audit = audit_files(files(tmp_path, good=("x", B), **BAD), Data(source="", on_unreadable="skip"), CHECK)
    assert [item.file.path.name for item in audit.kept] == ["good"]
    assert {Path(path).name for path in audit.unreadable} == set(BAD)
    assert audit.unreadable[str(tmp_path / "missing")] == "does not exist"


def test_audit_files_refuses_when_equal_files_have_different_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit_files(files(tmp_path, a=("x", A), copy=("y", A), b=("x", B)), Data(source=""), CHECK)
    assert f"{tmp_path / 'a'} (x) = {tmp_path / 'copy'} (y)" in str(refused.value)


def test_audit_files_leaves_out_all_sides_of_a_conflict_when_skipping(tmp_path: Path) -> None:
    audit = audit_files(files(tmp_path, a=("x", A), copy=("y", A), b=("x", B)), Data(source="", on_conflict="skip"), CHECK)
    assert [item.file.path.name for item in audit.kept] == ["b"]
    assert len(audit.conflicts) == 2


def test_audit_files_keeps_one_of_repeats_so_that_none_leaks_across_splits(tmp_path: Path) -> None:
    audit = audit_files(files(tmp_path, a=("x", A), b=("x", A), c=("x", C)), Data(source=""), CHECK)
    assert [item.file.path.name for item in audit.kept] == ["a", "c"]
    assert audit.repeats == [str(tmp_path / "b")]
