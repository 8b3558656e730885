"""What the stage `data` depends on: what the examples are and hold, and not where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data import intake, stage
from pipeline.data.definition import DATA
from pipeline.data.labelled import Intake, Labelled
from pipeline.data.stage import prepare_data
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.stage import Absent
from tests.conftest import make_picture, recipe_document


def inputs_of(source: Path, run: RunFolder, **data: object) -> dict[str, object]:
    document = recipe_document(source, Path("w"), data={"source": str(source), **data})
    return dict(DATA.inputs(parse_recipe(document), run))


def make_table(folder: Path) -> Path:
    for label in ("x", "y"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.png").write_bytes(label.encode())
    (folder / "z").symlink_to("y")
    (folder / "t.csv").write_text("path,label\nx/1.png,x\ny/1.png,y\n")
    return folder / "t.csv"


def test_inputs_are_the_same_wherever_the_data_lie(tmp_path: Path) -> None:
    first, second = make_table(tmp_path / "a"), make_table(tmp_path / "b" / "c")
    run, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "other")
    assert inputs_of(first, run) == inputs_of(second, run) == inputs_of(first, other)
    assert inputs_of(first.parent, run) == inputs_of(second.parent, run)
    assert inputs_of(first, run) == inputs_of(first, run, root=str(second.parent))
    before = inputs_of(first, run)
    (first.parent / "x" / "1.png").write_bytes(b"z")
    assert inputs_of(first, run)["examples"] != before["examples"]


@pytest.mark.parametrize(
    ("old", "new"), [("png,x", "png,z"), ("y/1.png,y\n", ""), ("y/1.png,y", "x/1.png,x")]
)
def test_inputs_change_with_labels_and_names(tmp_path: Path, old: str, new: str) -> None:
    table, run = make_table(tmp_path), RunFolder(tmp_path / "run")
    before = inputs_of(table, run)["examples"]
    table.write_text(table.read_text().replace(old, new))
    assert inputs_of(table, run)["examples"] != before


def test_inputs_are_absent_when_the_source_is_missing(tmp_path: Path) -> None:
    found = inputs_of(tmp_path / "nowhere", RunFolder(tmp_path / "run"))["examples"]
    assert isinstance(found, Absent)
    assert found.what == f"data.source: {tmp_path / 'nowhere'} does not exist"
    assert "--data-root DIR" in found.remedy


def test_inputs_go_by_the_table_when_it_holds_the_samples_as_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> bytes:
        raise AssertionError("rows are not read")

    rows = [Labelled(f"t.parquet:{row}", "x", load=refuse) for row in range(3)]
    monkeypatch.setattr(intake, "read_labelled", lambda *_, **__: Intake(rows))
    run, table = RunFolder(tmp_path / "run"), tmp_path / "t.parquet"
    table.write_bytes(b"a")
    before = inputs_of(table, run)["examples"]
    assert inputs_of(table, run)["examples"] == inputs_of(tmp_path, run)["examples"] == before
    table.write_bytes(b"b")
    assert inputs_of(table, run)["examples"] != before


def test_prepare_data_stores_what_a_table_holds_as_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [(label, make_picture(label, index)) for index in range(8) for label in ("bars", "plain")]
    rows = [
        Labelled(f"t.parquet:{row}", label, load=lambda picture=picture: picture)
        for row, (label, picture) in enumerate(pictures, 1)
    ]
    monkeypatch.setattr(stage, "read_labelled", lambda *_, **__: Intake(rows))
    run = RunFolder(tmp_path / "run")
    prepare_data(parse_recipe(recipe_document(tmp_path, Path("w"))), run)
    moved = RunFolder(run.root.rename(tmp_path / "moved"))
    assert {sample.read() for sample in read_samples(moved)} == {picture for _, picture in pictures}
