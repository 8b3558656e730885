from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from pipeline.errors import DataError, GraftError
from tests.pipeline.data.tiny import key, make_files, make_pictures, pairs, picture, read


def table(folder: Path, text: str | bytes, name: str = "samples.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


ANY = {"on_unreadable": "skip"}  # for tables whose files are not there


def test_read_labelled_takes_subfolders_as_labels_and_tells_of_the_rest(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        [
            "cat/a.png",
            "cat/deep/b.png",
            "dog/c.png",
            ".git/d.png",
            "dog/.DS_Store",
            "dog/c.json",
            "dog/x.txt",
        ],
    )
    (tmp_path / "lizard").mkdir()
    intake = read(tmp_path)
    assert pairs(intake) == [("cat/a.png", "cat"), ("cat/deep/b.png", "cat"), ("dog/c.png", "dog")]
    assert intake.examples[0].path == tmp_path / "cat/a.png"
    told = "\n".join(intake.remarks)
    assert "2 file(s) are no samples: 1 .json, 1 .txt" in told
    assert "1 folder(s) are empty: lizard" in told
    assert "data.layout: '{label}/**'" in told


def test_read_labelled_keeps_the_splits_that_folders_name(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        [f"{split}/{label}/{split}.png" for split in ("train", "valid", "Testing") for label in "ab"],
    )
    assert [(example.label, example.split) for example in read(tmp_path).examples] == [
        (label, split) for split in ("test", "train", "validation") for label in "ab"
    ]
    ignored = read(tmp_path, splits={"given": "ignore"}).examples
    assert {example.split for example in ignored} == {None}
    assert {example.label for example in ignored} == {"a", "b"}


def test_read_labelled_leaves_out_what_the_data_say_has_no_label(tmp_path: Path) -> None:
    folders = ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
    make_files(tmp_path, [f"{folder}/{index}.txt" for folder in folders for index in range(2)], b"words")
    make_files(tmp_path, ["README", "imdb.vocab", "train/labeledBow.feat"], b"words")
    intake = read(tmp_path, "text")
    assert {example.label for example in intake.examples} == {"pos", "neg"}
    assert len(intake.examples) == 8
    assert "data.leave_out: 2 file(s) of **/unsup/**" in intake.remarks


def test_read_labelled_tells_of_files_that_do_not_fit_the_layout(tmp_path: Path) -> None:
    make_files(tmp_path, [*(f"{label}/{index}.png" for label in "ab" for index in range(9)), "cover.png"])
    (told,) = [remark for remark in read(tmp_path).remarks if "do not fit" in remark]
    assert told.startswith("1 file(s) do not fit {label}/**")
    assert "cover.png" in told


def test_read_labelled_reads_the_layout_groups_and_exceptions_of_the_recipe(tmp_path: Path) -> None:
    make_files(tmp_path, ["x/cat/p1-1.png", "x/cat/p1-2.png", "y/dog/p2-1.png", "y/dog/broken.png"])
    section = {"layout": "*/{label}/**", "group_by": "*/*/{group}-*", "leave_out": ["**/broken*"]}
    intake = read(tmp_path, **section)
    assert [(example.label, example.group) for example in intake.examples] == [("cat", "p1")] * 2 + [
        ("dog", "p2")
    ]
    assert "data.leave_out: 1 file(s) of **/broken*" in intake.remarks
    with pytest.raises(DataError, match=r"data\.group_by: .*broken\.png does not fit"):
        read(tmp_path, **section | {"leave_out": []})


def test_read_labelled_refuses_a_split_of_unknown_name_and_takes_it_when_told(tmp_path: Path) -> None:
    make_files(tmp_path, [f"{split}/{label}/1.png" for split in ("train", "extra") for label in "ab"])
    section: dict[str, object] = {"layout": "{split}/{label}/**"}
    with pytest.raises(DataError, match=r"`extra` is no known name .*data\.splits\.names: \{extra: test\}"):
        read(tmp_path, **section)
    intake = read(tmp_path, **section, splits={"names": {"extra": "validation"}})
    assert {example.split for example in intake.examples} == {"train", "validation"}


def test_read_labelled_follows_links_and_tells_of_loops(tmp_path: Path) -> None:
    make_files(tmp_path, ["away/x.png", "data/cat/y.png"])
    (tmp_path / "data/dog").symlink_to(tmp_path / "away")
    (tmp_path / "data/dog/dead.png").symlink_to("nothing")
    (tmp_path / "data/cat/loop").symlink_to(tmp_path / "data")
    intake = read(tmp_path / "data")
    assert pairs(intake) == [("cat/y.png", "cat"), ("dog/dead.png", "dog"), ("dog/x.png", "dog")]
    assert any("lead back to a folder around them: cat/loop" in remark for remark in intake.remarks)


def test_read_labelled_takes_names_as_they_are_when_the_system_allows_them(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    make_files(tmp_path, [f'a b/it\'s "so"/{odd}', "c/two\nlines.png"])
    assert pairs(read(tmp_path)) == [(f'a b/it\'s "so"/{odd}', "a b"), ("c/two\nlines.png", "c")]


@pytest.mark.parametrize("name", ["two\nlines", "a\x1b[31m", os.fsdecode(b"caf\xe9")])
def test_read_labelled_refuses_class_folders_of_names_that_break_what_shows_them(
    tmp_path: Path, name: str
) -> None:
    make_files(tmp_path, [f"{name}/1.png", "b/1.png"])
    with pytest.raises(DataError, match=r"data\.labels\.rename") as refused:
        read(tmp_path)
    assert name not in str(refused.value)
    assert read(tmp_path, labels={"rename": {name: "fine"}}).examples


def boxes(*folders: str) -> list[str]:
    """Pictures, and for each a file of boxes in another folder."""
    return [
        f"{folder.format(kind=kind)}/{index}.{suffix}"
        for folder in folders
        for kind, suffix in (("images", "png"), ("labels", "txt"))
        for index in range(3)
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no labelled examples"),
        (["a.txt", "b.txt"], r"files that are none: 2 \.txt"),
        (["1.png", "2.png"], "no two folders or names that could be classes"),
        (["only/1.png", "only/2.png"], "data.layout"),
        (boxes("{kind}"), "boxes or masks"),
        (boxes("{kind}/train"), "boxes or masks"),
        (boxes("train/{kind}", "val/{kind}"), "boxes or masks"),
        (boxes("{kind}/train", "{kind}/val"), "boxes or masks"),
    ],
)  # fmt: skip
def test_read_labelled_refuses_a_folder_without_classes(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(make_files(tmp_path, names))


def test_read_labelled_refuses_columns_when_the_source_is_a_folder(tmp_path: Path) -> None:
    make_files(tmp_path, ["a/1.png", "b/1.png"])
    with pytest.raises(DataError, match=r"data\.stratify_by, data\.table\.split: .* is a folder"):
        read(tmp_path, stratify_by=["type"], table={"split": "part"})


def test_read_labelled_reads_texts_of_another_encoding_when_told(tmp_path: Path) -> None:
    make_files(tmp_path, ["a/1.txt", "b/1.txt"], "café".encode("cp1252"))
    assert [example.text for example in read(tmp_path, "text", encoding="cp1252").examples] == ["café"] * 2
    with pytest.raises(DataError, match=r"data\.encoding: Python knows no `no-such-code`"):
        read(tmp_path, "text", encoding="no-such-code")


def test_read_labelled_reads_a_csv_with_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    make_files(tmp_path, ["a, b.png", "sub/c.png"])
    intake = read(table(tmp_path, '\ufeffpath,label\n"a, b.png",cat\nsub/c.png,dog\n\n'))
    assert pairs(intake) == [("a, b.png", "cat"), ("sub/c.png", "dog")]
    assert [example.path for example in intake.examples] == [tmp_path / "a, b.png", tmp_path / "sub/c.png"]


def test_read_labelled_reads_ranges_strata_groups_and_times(tmp_path: Path) -> None:
    intake = read(
        table(tmp_path, "a.png 0.0   mono p1 3\nb.png 0.3333 poly p1 2\nc.png 0.5 poly p2 1\n"),
        table={
            "separator": "whitespace",
            "columns": ["path", "p", "kind", "patient", "when"],
            "label": "p",
            "classes": {"low": {"below": 0.5}, "high": {"from": 0.5}},
        },
        stratify_by=["kind"],
        group_by="patient",
        split_by_time="when",
        **ANY,
    )
    assert [(e.label, e.strata, e.group, e.time) for e in intake.examples] == [
        ("low", ("mono",), "p1", "3"),
        ("low", ("poly",), "p1", "2"),
        ("high", ("poly",), "p2", "1"),
    ]


def test_read_labelled_keeps_texts_as_they_are_with_their_lines(tmp_path: Path) -> None:
    intake = read(table(tmp_path, 'label,text\nx," two\nlines "\ny,plain\n'), "text")
    assert [key(example) for example in intake.examples] == [
        ("samples.csv:2", "x", " two\nlines ", None),
        ("samples.csv:4", "y", "plain", None),
    ], "a text of two lines is counted as two"


@pytest.mark.parametrize(
    ("text", "section", "words"),
    [
        ("file,kind\na.png,cat\n", {}, ["no column 'path' for data.table.path", "'file', 'kind'"]),
        ("path,label\na.png,cat\n", {"stratify_by": ["type"]}, ["'type' for data.stratify_by[0]"]),
        ("path,label\na.png,cat\n", {"group_by": "who"}, ["'who' for data.group_by"]),
        ("path,label\na.png,x\nb.png\n", {}, ["3"]),
        ("", {}, ["empty"]),
        ("path,label\n", {}, ["no labelled examples"]),
        ("path,label\na.png,\n", {}, ["samples.csv, line 2", "data.labels.on_missing: skip"]),
        ("path,label\na.png,2\n", {"table": {"classes": {"low": {"below": 1}}}}, ["line 2", "no class"]),
        ("path,label,label\na.png,x,y\n", {}, ["label"]),
        (
            "path,label,split\na.png,x,lost\n",
            {"table": {"split": "split"}},
            ["line 2: 'lost'", "data.splits.names"],
        ),
        (
            "path,label,split\na.png,x,\n",
            {"table": {"split": "split"}},
            ["line 2: ''", "data.splits.given: ignore"],
        ),
    ],
)
def test_read_labelled_refuses_when_the_table_is_wrong(
    tmp_path: Path, text: str, section: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(DataError) as refused:
        read(table(tmp_path, text), **ANY | section)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/nowhere/at/all", "does not exist"),
        ("package:not_there_at_all/x.csv", "pip install not-there-at-all"),
        ("package:json/none", "does not exist"),
    ],
)
def test_read_labelled_refuses_when_the_source_is_missing(source: str, words: str) -> None:
    with pytest.raises(GraftError, match=words):
        read(Path(source))


def test_read_labelled_names_the_key_when_there_is_no_text_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'text' for data\.table\.text"):
        read(table(tmp_path, "tweet,label\na,x\n"), "text")


def test_read_labelled_reads_the_split_of_a_column(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label,part\na,x,TRAIN\nb,y,dev\nc,x,held\n")
    section = {"table": {"split": "part"}}
    intake = read(path, "text", **section, splits={"names": {"held": "test"}})
    assert [example.split for example in intake.examples] == ["train", "validation", "test"]
    assert {e.split for e in read(path, "text", **section, splits={"given": "ignore"}).examples} == {None}


def test_read_labelled_leaves_out_and_tells_of_a_table_without_labels(tmp_path: Path) -> None:
    table(tmp_path, "text,label\na,x\nb,y\n", "train.csv")
    table(tmp_path, "id,text\n1,c\n", "test.csv")
    intake = read(tmp_path, "text")
    assert [key(example) for example in intake.examples] == [
        ("train.csv:2", "x", "a", "train"),
        ("train.csv:3", "y", "b", "train"),
    ]
    assert "test.csv: has no column `label`, and is left out" in intake.remarks


@pytest.mark.parametrize(
    ("written", "section"),
    [
        (" sub/é.png ", {}),
        (unicodedata.normalize("NFD", "sub/é.png"), {}),
        ("sub\\é.png", {}),
        ("file:///x/sub/%C3%A9.png", {"table": {"strip": "/x/"}}),
        ("file:///x/sub/%C3%A9.png", {"table": {"strip": "file:///x/"}}),
        ("D:\\x\\sub\\é.png", {"table": {"strip": "D:\\x\\"}}),
        ("D:\\x\\sub\\é.png", {"table": {"strip": "D:/x"}}),
        ("sub/é", {"table": {"suffix": ".png"}}),
    ],
)
def test_read_labelled_finds_files_whose_paths_were_written_elsewhere(
    tmp_path: Path, written: str, section: dict[str, object]
) -> None:
    make_files(tmp_path, ["sub/é.png"])
    (example,) = read(table(tmp_path, f"path,label\n{written},x\n"), **section).examples
    assert (example.path, example.source) == (tmp_path / "sub/é.png", "sub/é.png")


def test_read_labelled_counts_paths_from_the_root_that_the_recipe_names(tmp_path: Path) -> None:
    make_files(tmp_path, ["pictures/a.png", "tables/none"])
    path = table(tmp_path / "tables", "path,label\na.png,x\n")
    assert pairs(read(path, root=str(tmp_path / "pictures"))) == [("a.png", "x")]


def test_read_labelled_lists_the_lines_of_files_that_are_not_there(tmp_path: Path) -> None:
    make_files(tmp_path, ["a.png"])
    path = table(tmp_path, "path,label\na.png,x\nb.png,y\n/else/a.png,x\n,x\n")
    with pytest.raises(DataError) as refused:
        read(path)
    assert "3 file(s) that the table names are not there" in str(refused.value)
    assert "samples.csv, line 3: b.png" in str(refused.value)
    assert "data.on_unreadable: skip" in str(refused.value)
    assert len(read(path, **ANY).examples) == 4
    with pytest.raises(DataError, match=r"data\.table\.strip: '/else/'"):
        read(table(tmp_path, "path,label\n/else/a.png,x\n"))


def test_read_labelled_refuses_one_file_under_two_labels_and_keeps_one_of_repeats(tmp_path: Path) -> None:
    make_files(tmp_path, ["a.png"])
    with pytest.raises(DataError, match=r"a\.png: cat, dog"):
        read(table(tmp_path, "path,label\na.png,cat\n./a.png,dog\n"))
    intake = read(table(tmp_path, "path,label\na.png,cat\n./a.png,cat\n"))
    assert pairs(intake) == [("a.png", "cat")]
    assert "1 line(s) name a file once more" in intake.remarks


def test_read_reads_the_bytes_of_an_example_wherever_it_is(tmp_path: Path) -> None:
    make_pictures(tmp_path, ["a/1.png", "b/1.png"])
    assert [example.read() for example in read(tmp_path).examples] == [picture(0), picture(1)]
    (example,) = read(table(tmp_path, "text,label\ncafé,x\n"), "text").examples
    assert example.read() == "café".encode()


def test_read_labelled_leaves_out_tables_when_told(tmp_path: Path) -> None:
    table(tmp_path, "text,label\na,x\nb,y\n", "train.csv")
    table(tmp_path, "text\nc\n", "test.csv")
    with pytest.raises(DataError, match=r"test\.csv"):
        read(tmp_path, "text")
    intake = read(tmp_path, "text", leave_out=["test.csv"])
    assert [example.label for example in intake.examples] == ["x", "y"]
    assert "data.leave_out: 1 table(s): test.csv" in intake.remarks
