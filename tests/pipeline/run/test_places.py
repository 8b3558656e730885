"""``--data-root``: what a recipe's data become when they are in another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.places import read_place, write_root
from pipeline.recipe.data import Data
from pipeline.recipe.reading import hash_recipe, load_recipe, parse_recipe
from pipeline.recipe.sections import Recipe
from pipeline.run.places import keep_root, with_data_root
from tests.conftest import recipe_document


def recipe_of(source: str, **data: object) -> Recipe:
    return parse_recipe(recipe_document(Path("x"), Path("w"), data={"source": source, **data}))


def data_at(folder: Path, recipe: Recipe, was_at: str | None = None) -> Data:
    """The section `data` with its data in a folder, of a run whose data were at a place."""
    run = RunFolder(folder.parent / "run")
    if was_at is not None:
        write_root(run, Path(was_at))
    return with_data_root(recipe, run, folder).data


def test_with_data_root_takes_the_folder_when_the_data_are_one(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    new = tmp_path / "new"
    assert data_at(new, recipe_of(str(tmp_path / "old"))).source == str(new), "it is still there"
    assert data_at(new, recipe_of("/gone")).source == str(new), "no run says that it was a table"
    for source in ("/gone/v1.0", "package:gone/v1.0"):
        data = data_at(new, recipe_of(source), was_at="/gone/v1.0")
        assert (data.source, data.root) == (str(new), None)


def test_with_data_root_takes_root_and_table_when_the_data_are_a_table(tmp_path: Path) -> None:
    old, new = tmp_path / "t.csv", tmp_path / "new"
    new.mkdir()
    old.touch()
    for source, was_at in ((str(old), None), ("/gone/t.csv", "/gone"), ("package:gone/d/t.csv", "/gone/d")):
        data = data_at(new, recipe_of(source), was_at)
        assert (data.source, data.root) == (source, str(new))
    data = data_at(new, recipe_of("/gone/t", root="/gone/pictures"))
    assert (data.source, data.root) == ("/gone/t", str(new))
    (new / "t.csv").touch()
    for source in (str(old), "/gone/t.csv"):
        data = data_at(new, recipe_of(source))
        assert (data.source, data.root) == (str(new / "t.csv"), str(new))


@pytest.mark.parametrize(
    ("source", "folder", "words"),
    [
        ("hub:owner/name", "new", "data.source is hub:owner/name"),
        ("/gone", "nowhere", "is no folder"),
        ("/gone/t.csv", "new", "holds no t.csv. Put the table"),
    ],
)
def test_with_data_root_refuses_when_it_cannot_be_right(
    source: str, folder: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(GraftError, match=words):
        data_at(tmp_path / folder, recipe_of(source))


def test_keep_root_leaves_the_note_when_the_place_is_not_here(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert read_place(run).root is None
    (tmp_path / "t.csv").touch()
    for source, root in ((tmp_path, tmp_path), (tmp_path / "t.csv", tmp_path), (tmp_path / "gone", tmp_path)):
        keep_root(recipe_of(str(source)), run)
        assert read_place(run).root == root
    keep_root(recipe_of(str(tmp_path / "t.csv"), root="/p"), run)
    assert read_place(run).root == Path("/p")


def test_recipes_have_absolute_roots_and_no_place_decides_a_version(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ndata: {source: t.csv, root: p}\nbackbone: {name: resnet18}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert (recipe.data.source, recipe.data.root) == (str(tmp_path / "t.csv"), str(tmp_path / "p"))
    assert hash_recipe(recipe_of("/a/t.csv", root="/b")) == hash_recipe(recipe_of("/c"))
