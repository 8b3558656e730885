"""The tables of families in the documentation are those of the lists that they are made from."""

from __future__ import annotations

import timm

from benchmarks.families.pictures import FAMILIES
from benchmarks.families.row import Row
from benchmarks.families.table import read_rows, write_table
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "backbones-pictures.md"


def test_the_table_of_pictures_names_exactly_the_families_of_the_list_and_none_fails() -> None:
    rows = read_rows(PAGE)
    assert [row.family for row in rows] == [family.key for family in FAMILIES]
    assert {row.outcome for row in rows} == {"passes", "refused"}
    assert all(row.reason.startswith(("backbone.", "image.")) for row in rows if row.outcome == "refused")


def test_the_list_of_pictures_has_every_module_of_timm() -> None:
    # Other tests register networks of their own, under the name of their file.
    modules = {name for name in timm.list_modules() if not name.startswith("test_")}
    assert {family.module for family in FAMILIES} == modules


def test_a_table_is_read_as_it_was_written(tmp_path) -> None:
    rows = [Row("a at 64", "passes", 1.2), Row("b", "refused", 0.1, "image.size: a | b. No.")]
    write_table(tmp_path / "t.md", "pictures", rows, {"a at 64": ("m", "1.0 M"), "b": ("n", "2.0 M")})
    assert read_rows(tmp_path / "t.md") == rows
    write_table(tmp_path / "t.md", "texts", rows, {})
    assert read_rows(tmp_path / "t.md") == rows
