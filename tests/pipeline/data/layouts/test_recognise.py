from __future__ import annotations

import pytest

from pipeline.data.layouts.names import KNOWN, split_named
from pipeline.data.layouts.recognise import recognise


def tree(*folders: str, count: int = 3) -> list[str]:
    """Paths of files in each of some folders."""
    return [f"{folder}/{index}.jpg" for folder in folders for index in range(count)]


def product(*levels: str) -> list[str]:
    """Folders below folders, each level's names separated by spaces."""
    paths = [""]
    for level in levels:
        paths = [f"{path}/{name}".lstrip("/") for path in paths for name in level.split()]
    return paths


def twice(name: str, labels: str) -> list[str]:
    """Folders of labels below a folder in a folder of the same name."""
    return product(name, name, labels)


@pytest.mark.parametrize(
    ("folders", "layouts"),
    [
        (product("cat dog"), ["{label}/**"]),
        (product("train val test", "cat dog"), ["{split}/{label}/**"]),
        (product("Training Testing", "glioma notumor"), ["{split}/{label}/**"]),
        (product("train test", "train/x train/y")[:4], ["{split}/train/{label}/**"]),
        (product("data", "train valid", "a b"), ["data/{split}/{label}/**"]),
        (product("animals", "cat dog"), ["animals/{label}/**"]),
        (product("a-b", "images", "cat dog"), ["a-b/images/{label}/**"]),
        (product("cat dog", "train test"), ["{label}/{split}/**"]),
        (product("cat dog", "images"), ["{label}/**"]),
        (product("bus car train"), ["{label}/**"]),
        (product("train val", "bus train car"), ["{split}/{label}/**"]),
        (twice("seg_train", "x y") + twice("seg_test", "x y"), ["{split}/*/{label}/**"]),
        (twice("training_set", "cats dogs") + twice("test_set", "cats dogs"), ["{split}/*/{label}/**"]),
        (["pets/cat", "pets/dog", "wild/fox", "wild/owl"], ["*/{label}/**", "{label}/**"]),
        (product("cat dog", "session1 session2 session3"), ["{label}/**", "*/{label}/**"]),
        (["cat/p001", "cat/p002", "dog/p003", "dog/p004"], ["{label}/**", "*/{label}/**"]),
        (product("train test", "pets/cat wild/fox"), ["{split}/*/{label}/**", "{split}/{label}/**"]),
        (product("20news-bydate-train 20news-bydate-test", "x.y z"), ["20news-bydate-{split}/{label}/**"]),
        (product("d", "my_train_v2 my_val_v2", "x y"), ["d/my_{split}_v2/{label}/**"]),
        (product("big_train big_bus big_car"), ["{label}/**"]),
        (["cat", "dog", "dog/more", "dog/more/still"], ["{label}/**"]),
        (product("odd{name}", "a b"), ["*/{label}/**"]),
        (["only"], []),
        (product("only", "deeper"), []),
        (product("images", "train val"), []),
        ([], []),
    ],
)  # fmt: skip
def test_recognise_finds_split_and_label(folders: list[str], layouts: list[str]) -> None:
    assert [reading.layout for reading in recognise(tree(*folders))] == layouts


@pytest.mark.parametrize(
    "name", sorted({*KNOWN, *map(str.upper, KNOWN), "test_set", "images-val", "train2017", "01_train"})
)
def test_recognise_knows_every_usual_name_of_a_split(name: str) -> None:
    other = "test" if split_named(name) == "train" else "train"
    (reading,) = recognise(tree(*product(f"{other} {name}", "cat dog")))
    assert reading.layout == "{split}/{label}/**"
    assert "folders name the splits" in reading.said


@pytest.mark.parametrize("name", ["", "trains", "unsup", "cat", "train_test", "best", "2017", "contest"])
def test_split_named_knows_no_other_name(name: str) -> None:
    assert split_named(name) is None


def test_split_named_takes_the_users_own_names_first() -> None:
    assert split_named("holdout", {"holdout": "validation"}) == "validation"
    assert split_named("Extra", {"Extra": "train"}) == "train"


def test_recognise_leaves_out_what_has_no_label_when_the_folder_is_that_of_imdb() -> None:
    (reading,) = recognise(tree("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"))
    assert (reading.layout, reading.leave_out) == ("{split}/{label}/**", ("**/unsup/**",))


def test_recognise_leaves_out_a_folder_beside_the_splits_that_is_none() -> None:
    (reading,) = recognise(tree(*product("train val test", "a b"), "docs/figures"))
    assert (reading.layout, reading.leave_out) == ("{split}/{label}/**", ("**/docs/**",))


def test_recognise_reads_a_test_split_without_labels_as_no_classes() -> None:
    (reading,) = recognise(tree(*product("train val", "a b"), "test"))
    assert reading.layout == "{split}/{label}/**"


def test_recognise_takes_a_few_stray_files_for_none() -> None:
    (reading,) = recognise([*tree("cat", "dog", count=20), "readme.jpg"])
    assert reading.layout == "{label}/**"


def test_recognise_reads_names_when_they_begin_with_the_class() -> None:
    flat = [f"{label}.{index}.jpg" for label in ("cat", "dog") for index in range(4)]
    assert [reading.layout for reading in recognise(flat)] == ["{label}.*"]
    split = [f"{folder}/{name}" for folder in ("train", "test") for name in flat]
    assert [reading.layout for reading in recognise(split)] == ["{split}/{label}.*"]
    assert [reading.layout for reading in recognise([f"train/{name}" for name in flat])] == [
        "train/{label}.*"
    ]
