"""Inputs of jobs: every row once, whatever the fragments, and faults that stay with their row."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import GraftError
from pipeline.jobs.delimited import DelimitedSource
from pipeline.jobs.json_lines import JsonLinesSource
from pipeline.jobs.opening import find_column, open_source
from pipeline.jobs.parquet import ParquetSource
from pipeline.jobs.rows import Row, Source, cut

CELLS = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=12
)


def read_all(source: Source, rows: int) -> list[Row]:
    return [row for fragment in cut(source.places(), rows) for row in source.read(fragment)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.integers(1, 5), st.sampled_from([",", "\t", ";"]))
def test_csv_gives_each_row_once_whatever_the_fragments(
    rows: list[tuple[str, str]], size: int, separator: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows([("id", "text"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
        source = DelimitedSource(path)
        assert source.columns == ("id", "text")
        assert [row.values for row in read_all(source, size)] == rows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries({"n": st.integers(), "text": CELLS}), min_size=1), st.integers(1, 5))
def test_json_lines_give_each_object_once_whatever_the_fragments(
    rows: list[dict[str, object]], size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.jsonl")
        path.write_text("\n\n".join(json.dumps(row) for row in rows))
        source = JsonLinesSource(path)
        found = read_all(source, size)
    assert [dict(zip(source.columns, row.values, strict=True)) for row in found] == rows


@pytest.mark.parametrize("group", [3, 1000])
@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_parquet_gives_any_fragment_with_its_types(tmp_path: Path, group: int, order: str) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(
        pa.table({"n": range(10), "text": [str(n) for n in range(10)]}), path, row_group_size=group
    )
    source = ParquetSource(path)
    fragments = cut(source.places(), 4)
    if order == "backwards":
        fragments.reverse()
    rows = {fragment.start: source.read(fragment) for fragment in fragments}
    assert [row.values for start in sorted(rows) for row in rows[start]] == [(n, str(n)) for n in range(10)]


def test_bad_rows_have_a_fault_and_fail_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'id,text\n1,good\n2\n3,a,b,c\n4,caf\xe9\n\n5,"two\nlines"\n')
    rows = read_all(DelimitedSource(path), 2)
    assert [row.fault for row in rows] == [
        None,
        "has 1 values, and the table 2 columns",
        "has 4 values, and the table 2 columns",
        "is not in UTF-8",
        None,
    ]
    assert rows[3].values == ("4", "caf\ufffd")
    assert rows[4].values == ("5", "two\nlines")


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b'"text"', b'{"text": NaN}', b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"[" * 9999],
)
def test_broken_line_is_one_faulty_row(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "two"}\n')
    rows = read_all(JsonLinesSource(path), 2)
    assert [row.fault is None for row in rows] == [True, False, True]
    assert [row.values for row in rows] == [("one",), (None,), ("two",)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "the table is empty"),
        ("a.csv", b"id,id\n", "more than one column has the name 'id'"),
        ("a.jsonl", b"[]\n", "holds no JSON object"),
        ("a.parquet", b"PAR1", "cannot be read as a Parquet file"),
        ("a.xlsx", b"", r"is none of \.csv"),
        ("missing.csv", None, "there is no such table or folder"),
    ],
)
def test_input_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GraftError, match=reason):
        open_source(tmp_path / name)


def test_column_is_the_one_that_is_named_or_has_a_usual_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,Review,other\n")
    source = open_source(path)
    assert find_column(source, None) == 1
    assert find_column(source, "other") == 2
    with pytest.raises(GraftError, match=r"has no column 'text'\. Its columns: id, Review, other"):
        find_column(source, "text")
    path.write_text("id,body\n")
    with pytest.raises(GraftError, match="Name it: --column NAME"):
        find_column(open_source(path), None)


def test_folder_is_its_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".hidden/3.txt", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert [row.values for row in read_all(source, 2)] == [("a.txt",), ("b/1.txt",), ("b/2.txt",)]
    before = source.identity()
    (tmp_path / "a.txt").write_text("another text")
    assert open_source(tmp_path).identity() != before
