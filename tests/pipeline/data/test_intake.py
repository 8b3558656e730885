from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.intake import read_labelled
from pipeline.errors import DataError, GraftError
from pipeline.recipe.data import Data, Table


def table(folder: Path, text: str, **options: object) -> Data:
    path = folder / "samples.csv"
    path.write_text(text)
    stratify_by = options.pop("stratify_by", ())
    return Data(source=str(path), table=Table.model_validate(options), stratify_by=stratify_by)


def test_read_labelled_takes_subfolders_as_labels(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/deep/b.png", "dog/c.png", ".git/d.png", "dog/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = read_labelled(Data(source=str(tmp_path)), cells=False)
    assert [(file.path.name, file.label) for file in found] == [
        ("a.png", "cat"),
        ("b.png", "cat"),
        ("c.png", "dog"),
    ]
    assert [file.source for file in found] == ["cat/a.png", "cat/deep/b.png", "dog/c.png"]


def test_read_labelled_reads_a_csv_with_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    data = table(tmp_path, '\ufeffpath,label\n"a, b.png",cat\nsub/c.png,dog\n\n')
    assert [(file.path, file.label) for file in read_labelled(data, cells=False)] == [
        (tmp_path / "a, b.png", "cat"),
        (tmp_path / "sub/c.png", "dog"),
    ]


def test_read_labelled_makes_classes_of_numbers_when_ranges_are_given(tmp_path: Path) -> None:
    data = table(
        tmp_path,
        "a.png 0.0   mono\nb.png 0.3333 poly\nc.png 0.5 poly\n",
        separator="whitespace",
        columns=["path", "p", "kind"],
        label="p",
        classes={"low": {"below": 0.5}, "high": {"from": 0.5}},
        stratify_by=("kind",),
    )
    assert [(f.label, f.strata) for f in read_labelled(data, cells=False)] == [
        ("low", ("mono",)),
        ("low", ("poly",)),
        ("high", ("poly",)),
    ]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            "file,kind\na.png,cat\n",
            {},
            ["data.table.path: `path`", "data.table.label: `label`", "file, kind"],
        ),
        ("path,label\na.png,cat\n", {"stratify_by": ("type",)}, ["data.stratify_by[0]: `type`"]),
        ("path,label\na.png\n", {}, ["line 2", "1 values, but 2 columns"]),
        ("", {}, ["empty"]),
        ("path,label\n", {}, ["no labelled examples"]),
        ("path,label\na.png,\n", {}, ["no value in the label column"]),
        ("path,label\na.png,x\n", {"classes": {"low": {"below": 1}}}, ["needs numbers", "'x'"]),
        ("path,label\na.png,2\n", {"classes": {"low": {"below": 1}}}, ["no class"]),
        (
            "path,label\na.png,0\n",
            {"classes": {"a": {"below": 1}, "b": {"below": 2}}},
            ["more than one class (a, b)"],
        ),
    ],
)
def test_read_labelled_refuses_when_the_table_is_wrong(
    tmp_path: Path, text: str, options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(DataError) as refused:
        read_labelled(table(tmp_path, text, **options), cells=False)
    assert all(word in str(refused.value) for word in [str(tmp_path), *words])


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
        read_labelled(Data(source=source), cells=False)


def test_read_labelled_refuses_when_a_folder_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stratify_by"):
        read_labelled(Data(source=str(tmp_path), stratify_by=("type",)), cells=False)


def test_read_labelled_keeps_texts_as_they_are_with_their_lines(tmp_path: Path) -> None:
    data = table(tmp_path, 'label,text\nx," two\nlines "\ny,plain\n')
    found = read_labelled(data, cells=True)
    assert [(e.text, e.label) for e in found] == [(" two\nlines ", "x"), ("plain", "y")]
    assert [e.source for e in found] == [f"samples.csv:{line}" for line in (2, 4)], (
        "a text of two lines is counted as two"
    )


def test_read_labelled_reads_another_encoding_when_told_and_names_the_key_when_not(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_bytes("text,label\ncafé,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"data\.table\.encoding \(auto\)"):
        read_labelled(Data(source=str(path)), cells=True)
    assert (
        read_labelled(Data(source=str(path), table=Table(encoding="latin-1")), cells=True)[0].text == "café"
    )
    with pytest.raises(DataError, match="no-such-code"):
        read_labelled(Data(source=str(path), table=Table(encoding="no-such-code")), cells=True)


def test_read_labelled_names_the_key_when_there_is_no_text_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.table\.text: `text`"):
        read_labelled(table(tmp_path, "tweet,label\na,x\n"), cells=True)
