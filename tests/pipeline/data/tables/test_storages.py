from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.tables.datasets import is_saved_dataset, open_dataset
from pipeline.data.tables.header import has_header
from pipeline.data.tables.opening import open_rows, propose_formats, understand
from pipeline.data.tables.rows import Rows
from pipeline.errors import DataError
from pipeline.recipe.data import Table


def write(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def values(rows: Rows) -> list[tuple[object, ...]]:
    return [row.values for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '\n{"text": "a\\n,", "n": 1.0, "label": true}\n{"label": null, "n": 10, "m": "é"}\n'),
        ("a.json", '[{"text": "a\\n,", "n": 1.0, "label": true},\n{"label": null, "n": 10, "m": "é"}\n]\n'),
        ("b.json", '{"text": "a\\n,", "n": 1.0, "label": true}\n{"label": null, "n": 10, "m": "é"}'),
    ],
)
def test_open_rows_reads_json_with_its_numbers_as_they_are_written(
    tmp_path: Path, name: str, content: str
) -> None:
    rows = open_rows(write(tmp_path, content, name), Table())
    assert (rows.columns, rows.total) == (("text", "n", "label", "m"), 2)
    assert values(rows) == [("a\n,", "1.0", "true", None), (None, "10", None, "é")]
    assert values(rows) == values(rows), "each pass reads anew"


def test_open_rows_reads_a_list_that_is_longer_than_a_part(tmp_path: Path) -> None:
    documents = [{"text": f"text {index}\n", "label": index % 3} for index in range(12_000)]
    rows = open_rows(write(tmp_path, json.dumps(documents, indent=1), "a.json"), Table())
    found = list(rows)
    assert [row.values for row in found] == [(f"text {i}\n", str(i % 3)) for i in range(12_000)]
    assert (found[0].line, found[-1].line) == (2, 2 + 4 * 11_999)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}\n{"a": 1\n', ["line 2, column 8"]),
        ('{"a": 1, "a": 2}\n', ["line 1", "key 'a' more than once"]),
        ('{"a": NaN}\n', ["line 1", "NaN", "null"]),
        ('{"a": "\\ud83d"}\n', ["line 1", "surrogate"]),
        ("[1, 2]\n", ["line 1", "no JSON object"]),
        ('[{"a": 1},\n{"a": 2}', ["line 2", "the file ends"]),
        ('[{"a": 1},\n{"a": }]', ["line 2"]),
        ("", ["empty"]),
        (b'{"a": "\xe9"}', ["line 1", "0xe9", "data.table.encoding"]),
    ],
)
def test_open_rows_refuses_json_with_the_line_when_it_is_faulty(
    tmp_path: Path, content: str | bytes, words: list[str]
) -> None:
    path = write(tmp_path, content, "a.jsonl")
    with pytest.raises(DataError) as refused:
        open_rows(path, Table())
    assert [word for word in [str(path), *words] if word not in str(refused.value)] == []


def test_open_rows_refuses_nested_columns_only_when_they_are_used(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a", "tags": null}\n{"text": "b", "tags": ["x"]}\n', "a.jsonl")
    rows = open_rows(path, Table())
    assert values(rows) == [("a",), ("b",)]
    assert rows.index("text", "data.table.text") == 0
    with pytest.raises(DataError, match=r"data\.table\.label: the column 'tags' .* \(line 2: a list\)"):
        rows.index("tags", "data.table.label")
    with pytest.raises(DataError, match=r"no column 'label' for data\.table\.label.*'text'"):
        rows.index("label", "data.table.label")


def make_arrow() -> pa.Table:
    features = {
        "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
        "image": {"_type": "Image"},
    }
    files = [{"bytes": b"\x89PNG", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    columns = {
        "label": pa.array([1, 0, -1], pa.int64()),
        "image": pa.array(files, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "raw": pa.array([b"\0", None, b""], pa.binary()),
        "word": pa.array(["a", "b", None]).dictionary_encode(),
        "whole": pa.array([1, None, 3], pa.int8()),
        "short": pa.array([0.1, 1.0, None], pa.float32()),
        "long": pa.array([0.1, 1.0, None], pa.float64()),
        "yes": pa.array([True, False, None]),
        "day": pa.array([dt.date(2020, 1, 2), None, None]),
        "time": pa.array([1_577_934_245_000_000_001, None, None], pa.timestamp("ns")),
        "tags": pa.array([["x"], [], None]),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def test_open_rows_reads_parquet_with_class_names_and_embedded_files(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(make_arrow(), path, row_group_size=2)
    rows = open_rows(path, Table())
    assert rows.columns == (
        "label", "image", "raw", "word", "whole", "short", "long", "yes", "day", "time",
    )  # fmt: skip
    assert (rows.total, set(rows.nested)) == (3, {"tags"})
    assert [(row.line, row.values) for row in rows] == [
        (1, ("yes", b"\x89PNG", b"\0", "a", "1", "0.1", "0.1", "true", "2020-01-02", "2020-01-02T03:04:05")),
        (2, ("no", "b.png", None, "b", None, "1.0", "1.0", "false", None, None)),
        (3, (None, None, b"", None, "3", None, None, None, None, None)),
    ]
    with pytest.raises(DataError, match=r"'tags' holds nested values .*list"):
        rows.index("tags", "data.table.label")


def test_open_rows_refuses_parquet_when_it_is_broken_or_its_class_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a Parquet file"):
        open_rows(write(tmp_path, b"PAR1 and no more", "a.parquet"), Table())
    columns = make_arrow().select(["label"])
    table = columns.set_column(0, "label", pa.array([1, 2, 0]))
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(DataError, match="'label' holds the class 2, but names only 2"):
        list(open_rows(tmp_path / "b.parquet", Table()))


def make_workbook(path: Path, *rows: list[object], sheets: int = 1) -> Path:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    for index in range(1, sheets):
        workbook.create_sheet(f"more {index}")
    workbook.save(path)
    return path


def test_open_rows_reads_the_first_sheet_of_excel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    day, moment = dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 2, 3, 4)
    rows = open_rows(
        make_workbook(
            tmp_path / "a.xlsx",
            ["text", "label", "when"],
            ["a", 1.0, day],
            [],
            [None, 2.5, moment],
            ["b", True],
            sheets=2,
        ),
        Table(),
    )
    assert [(row.line, row.values) for row in rows] == [
        (2, ("a", "1", "2020-01-02")),
        (4, (None, "2.5", "2020-01-02T03:04:00")),
        (5, ("b", "TRUE", None)),
    ]
    assert "of 2 sheets the first is read: 'Sheet'" in caplog.text


def test_open_rows_refuses_excel_with_the_remedy_when_it_is_faulty(tmp_path: Path) -> None:
    ragged = make_workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "b", "c"], ["d", "e"])
    with pytest.raises(DataError, match=r"1 row has another number .*\n  row 2: 3 values"):
        list(open_rows(ragged, Table()))
    with pytest.raises(DataError, match="name 'text'"):
        open_rows(make_workbook(tmp_path / "b.xlsx", ["text", "text"]), Table())
    with pytest.raises(DataError, match="sheet is empty"):
        open_rows(make_workbook(tmp_path / "c.xlsx"), Table())
    with pytest.raises(DataError, match=r"save it again as \.xlsx"):
        open_rows(write(tmp_path, b"PK\3\4 broken", "d.xlsx"), Table())
    with pytest.raises(DataError, match=r"Save it as \.xlsx"):
        open_rows(write(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1", "e.xls"), Table())


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("a.csv", b"\x1f\x8b\x08", "gunzip"),
        ("a.zip", b"PK\3\4", "Unpack"),
        ("a.jsonl", b"{}", "Remove the key"),
    ],
)
def test_open_rows_refuses_what_is_no_table_with_the_remedy(
    tmp_path: Path, name: str, content: bytes, remedy: str
) -> None:
    with pytest.raises(DataError, match=remedy):
        open_rows(write(tmp_path, content, name), Table(columns=("a",)))


def test_open_rows_refuses_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        open_rows(tmp_path / "none.csv", Table())


def test_open_dataset_reads_saved_folders_in_their_order(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "image": datasets.Image(),
        }
    )
    rows = {
        "text": ["a", "b", "c"],
        "label": [0, 1, 1],
        "image": [{"bytes": bytes([index]), "path": None} for index in range(3)],
    }
    dataset = datasets.Dataset.from_dict(rows, features=features).select([2, 0])
    dataset.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": dataset, "test": dataset.select([1])}).save_to_disk(str(tmp_path / "two"))
    (part,) = open_dataset(tmp_path / "one")
    name, one = part.name, part.rows
    assert (name, one.columns, one.total) == (None, ("text", "label", "image"), 2)
    assert values(one) == [("c", "yes", b"\2"), ("a", "no", b"\0")]
    two = {part.name: part.rows for part in open_dataset(tmp_path / "two")}
    assert {name: values(split) for name, split in two.items()} == {
        "train": [("c", "yes", b"\2"), ("a", "no", b"\0")],
        "test": [("a", "no", b"\0")],
    }
    assert is_saved_dataset(tmp_path / "one")
    assert is_saved_dataset(tmp_path / "two")
    assert not is_saved_dataset(tmp_path)
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as a saved data set"):
        open_dataset(tmp_path / "one")


def test_open_dataset_names_what_it_cannot_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match=r"(?s)'nobody/nothing-here'.*not in the cache.*hf download"):
        open_dataset("hub:nobody/nothing-here/config@main")
    with pytest.raises(DataError, match="hub:OWNER/NAME"):
        open_dataset("hub:")


@pytest.mark.parametrize(
    ("content", "header", "columns"),
    [
        ("text,label\ngood film,pos\nbad,neg\n", True, None),
        ("review,rating\na,1\nb,2\n", True, None),
        ("phrase,mood\na good film,pos\nb,neg\n", True, None),
        ("a good film,pos\na bad film,neg\nit is fine,pos\n", False, ("text", "label")),
        ("pos\ta good film\nneg\ta bad film\npos\tfine\n", False, ("label", "text")),
        ("a.jpg,cat\nb.jpg,dog\nc.jpg,cat\n", False, ("path", "label")),
        ("1;a good film;pos\n2;a bad film;neg\n3;fine;pos\n", False, ("column1", "text", "label")),
    ],
)
def test_understand_proposes_names_when_there_is_no_header(
    tmp_path: Path, content: str, header: bool, columns: tuple[str, ...] | None
) -> None:
    path = write(tmp_path, content, "a.csv")
    assert has_header(path, Table()) is header
    known = understand(path, Table(), propose=True)
    assert known.columns == columns
    assert len(list(open_rows(path, known))) == content.count("\n") - header


def test_understand_leaves_nothing_open_and_guesses_only_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path, "text;label\ncafé;a\nd;b\n".encode("cp1252"), "a.csv")
    with pytest.raises(DataError, match="cp1252"):
        understand(path, Table())
    known = understand(path, Table(), propose=True)
    assert (known.separator, known.encoding, known.quoting, known.escape) == (";", "cp1252", "csv", None)
    assert values(open_rows(path, known)) == [("café", "a"), ("d", "b")]
    assert understand(path, known) == known
    unclear = write(tmp_path, 'text\tlabel\n"a\tx\nb"\ty\n', "b.tsv")
    assert [known.quoting for known in propose_formats(unclear, Table())] == ["none", "csv"]
