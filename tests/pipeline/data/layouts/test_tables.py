from __future__ import annotations

import pytest

from pipeline.data.layouts.pattern import read_pattern
from pipeline.data.layouts.tables import find_metadata, find_tables, is_table


@pytest.mark.parametrize(
    ("files", "layout", "splits"),
    [
        (["labels.csv"], "labels.csv", [None]),
        (["a{b}.csv"], "*", [None]),
        (["train.csv", "test.csv"], "{split}.csv", ["test", "train"]),
        (["train.tsv", "dev.tsv", "test.tsv"], "{split}.tsv", ["dev", "test", "train"]),
        (["my_train.jsonl", "my_test.jsonl"], "{split}", []),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"],
         "{split}-*.parquet", ["test", "train", "train"]),
        (["data/train.parquet", "data/test.parquet"], "data/{split}.parquet", ["test", "train"]),
        (["train/a.csv", "train/b.csv", "test/a.csv"], "{split}/*.csv", ["test", "train", "train"]),
        (["images_train.csv", "images_val.csv"], "images_{split}.csv", ["train", "val"]),
        (["train.csv", "test.csv", "sample_submission.csv"], "{split}.csv", ["test", "train"]),
        (["a.csv", "b.csv"], None, []),
        (["train.csv", "test.jsonl"], None, []),
        ([], None, []),
    ],
)  # fmt: skip
def test_find_tables_gives_a_pattern_that_finds_them(
    files: list[str], layout: str | None, splits: list[str | None]
) -> None:
    found = find_tables(files)
    if layout == "{split}":  # words beside the split's name that are none of the usual
        assert found is None
        return
    assert (found and found.layout) == layout
    if found:
        pattern = read_pattern(found.layout, "data.layout")
        assert [match.split for name in found.names if (match := pattern.match(name))] == splits


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (["metadata.csv"], "metadata.csv"),
        (["metadata.jsonl", "other.csv"], "metadata.jsonl"),
        (["train/metadata.csv", "test/metadata.csv"], "{split}/metadata.csv"),
        (["train/metadata.csv", "test/metadata.jsonl"], None),
        (["deep/er/metadata.csv"], None),
        (["metadata.txt"], None),
        (["labels.csv"], None),
    ],
)
def test_find_metadata_finds_those_of_hugging_face(files: list[str], layout: str | None) -> None:
    found = find_metadata(files)
    assert (found and found.layout) == layout


def test_is_table_goes_by_the_end_of_the_name() -> None:
    assert is_table("a/B.CSV")
    assert not is_table("csv")
    assert not is_table("a.csv.txt")
