"""Inputs of jobs: every row once, whatever the fragments, and faults that stay with their row."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
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


def test_parquet_gives_fragments_in_any_order_of_several_threads(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"n": range(5000)}), path, row_group_size=1700)
    source = ParquetSource(path)
    fragments = cut(source.places(), 64)
    random.Random(1).shuffle(fragments)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip((each.start for each in fragments), pool.map(source.read, fragments), strict=True))
    assert [row.values[0] for start in sorted(found) for row in found[start]] == list(range(5000))


def test_folder_of_parquet_is_one_table(tmp_path: Path) -> None:
    table = pa.table({"n": range(5000), "lang": [("de", "en", None, "a b/c")[n % 4] for n in range(5000)]})
    pq.write_to_dataset(table, tmp_path / "table", partition_cols=["lang"], max_rows_per_group=300)
    (tmp_path / "table" / "_SUCCESS").touch()
    source = open_source(tmp_path / "table")
    assert isinstance(source, ParquetSource)
    assert source.columns == source.shown == ("n", "lang")
    fragments = cut(source.places(), 64)
    random.Random(1).shuffle(fragments)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip((each.start for each in fragments), pool.map(source.read, fragments), strict=True))
    rows = [row.values for start in sorted(found) for row in found[start]]
    assert sorted(rows, key=str) == sorted(zip(*table.to_pydict().values(), strict=True), key=str)
    assert rows == [row.values for row in read_all(open_source(tmp_path / "table"), 1000)]
    before = source.identity()
    next((tmp_path / "table").rglob("*.parquet")).touch()
    assert source.identity() != before


def test_parts_are_put_in_one_order_of_columns_or_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1], "text": ["a"]}), tmp_path / "part-0.parquet")
    pq.write_table(pa.table({"text": ["b"], "n": [2]}), tmp_path / "part-1.parquet")
    pq.write_table(
        pa.table({"text": [], "n": []}, pa.schema([("text", "string"), ("n", "int64")])), tmp_path / "z.pq"
    )
    assert [row.values for row in read_all(open_source(tmp_path), 5)] == [(1, "a"), (2, "b")]
    pq.write_table(pa.table({"n": [1.5], "text": ["a"]}), tmp_path / "part-2.parquet")
    with pytest.raises(GraftError, match=r"part-2\.parquet: has other columns, .* than part-0\.parquet\."):
        open_source(tmp_path)


def test_folder_of_other_tables_is_none(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text("text\n")
    with pytest.raises(GraftError, match=r"holds tables alone, such as a\.csv\. Name one of them as --input"):
        open_source(tmp_path)
    (tmp_path / "c.txt").write_text("a text")
    assert len(read_all(open_source(tmp_path), 5)) == 3


def test_worker_that_gets_some_fragments_does_not_hold_the_others(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    chance = random.Random(1)
    table = pa.table({"image": [chance.randbytes(10_000) for _ in range(2560)]})
    pq.write_table(table, path, row_group_size=256)
    source, held = ParquetSource(path), []
    before = pa.total_allocated_bytes()
    for fragment in cut(source.places(), 64)[::2]:
        assert len(source.read(fragment)) == 64
        held.append(pa.total_allocated_bytes() - before)
    assert held[-1] < held[2] + 2_000_000, "those that were passed have 12.8 MB"


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["y", "y"]), path)
    with pytest.raises(GraftError, match="more than one column has the name 'y'"):
        ParquetSource(path)


def test_empty_lines_before_the_names_are_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\n\nid;text\n\n1;good, very\n")
    source = DelimitedSource(path)
    assert source.columns == ("id", "text")
    assert [row.values for row in read_all(source, 1)] == [("1", "good, very")]


@pytest.mark.parametrize("kind", ["plain", "large", "list"])
def test_text_of_parquet_that_is_not_utf8_is_one_faulty_row(tmp_path: Path, kind: str) -> None:
    texts: pa.Array = pa.array([b"one", b"caf\xe9", None, b"three"]).view(pa.string())
    if kind == "large":
        texts = pa.array([b"one", b"caf\xe9", None, b"three"], pa.large_binary()).view(pa.large_string())
    elif kind == "list":
        texts = pa.ListArray.from_arrays([0, 1, 2, 3, 4], texts)
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"n": range(4), "text": texts}), path)
    rows = read_all(ParquetSource(path), 3)
    assert [row.fault for row in rows] == [None, "is not in UTF-8", None, None]
    assert [row.values[0] for row in rows] == [0, 1, 2, 3]
    expected = {"list": [["one"], None, [None], ["three"]]}.get(kind, ["one", "caf\ufffd", None, "three"])
    assert [row.values[1] for row in rows] == expected


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
    ("content", "texts"),
    [
        (b"id,text\n1,good\n2,bad\rplot\n3,fine\n", ["good", None, "fine"]),
        (b'id,text\n1,"good\n2,bad\n3,dull\n', [None, "bad", "dull"]),  # a quote that nothing closes
        (b'id,text\n1,"a"b\n2,fine\n', [None, "fine"]),
        (b'id,text\r\n1,"a\rb"\r\n2,fine\r\n', ["a\rb", "fine"]),
        (b"id,text\n1," + b"a" * 10_000_001 + b"\n2,fine\n", [None, "fine"]),
    ],
    ids=["return", "open quote", "text behind a quote", "return in quotes", "huge"],
)
@pytest.mark.parametrize("size", [1, 9])
def test_row_that_is_no_csv_takes_no_other_with_it(
    tmp_path: Path, content: bytes, texts: list[str | None], size: int
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    rows = read_all(DelimitedSource(path), size)
    assert [None if row.fault else row.values[1] for row in rows] == texts
    assert all("is no CSV" in row.fault for row in rows if row.fault)


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
        ("a.csv", b"id,caf\xe9\n", "the first line, which names the columns, is no CSV in UTF-8"),
        ("a.csv", b"id,id\n", "more than one column has the name 'id'"),
        (
            "a.csv",
            "id,text\n1,good\n".encode("utf-16-le"),
            r"zero bytes, as UTF-16 does\)\. Save the table as",
        ),
        ("a.csv", "id,text\n1,good\n".encode("utf-16"), "zero bytes, as UTF-16 does"),
        ("a.csv", b"id,text\r1,good\r", r"its lines end in a carriage return alone"),
        ("a.csv", b"\n\r\n\n", "the table is empty"),
        ("a.jsonl", b"[]\n", "holds no JSON object"),
        ("a.jsonl", b'[{"text": "a"}, {"text": "b"}]', "Write one object a line, not a list of them"),
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


def test_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(GraftError, match=r"is no regular file, .* Save it as one\."):
        open_source(tmp_path / "a.csv")


def test_column_is_the_one_that_is_named_or_has_a_usual_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,Review,other\n")
    source = open_source(path)
    assert find_column(source, None, of_files=False) == 1
    assert find_column(source, "other", of_files=False) == 2
    with pytest.raises(GraftError, match=r"has no column 'text'\. Its columns: id, Review, other"):
        find_column(source, "text", of_files=False)
    path.write_text("id,body\n")
    with pytest.raises(GraftError, match="Name it: --column NAME"):
        find_column(open_source(path), None, of_files=False)


def test_column_is_one_that_the_model_can_take(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,path,sentence\n")
    assert find_column(open_source(path), None, of_files=False) == 2
    assert find_column(open_source(path), None, of_files=True) == 1
    path.write_text("text,image\n")
    assert find_column(open_source(path), None, of_files=True) == 1
    path.write_text("id,path\n")
    with pytest.raises(GraftError, match=r"for inputs, such as text\. Name it: --column NAME"):
        find_column(open_source(path), None, of_files=False)
    pq.write_table(pa.table({"text": ["a"], "photo": [b"b"]}), tmp_path / "table.parquet")
    assert find_column(open_source(tmp_path / "table.parquet"), None, of_files=True) == 1


def test_folders_that_are_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "a", inside / "b", outside / "deep"):
        folder.mkdir(parents=True)
        (folder / "1.txt").write_text("one")
    (inside / "a" / "linked").symlink_to(outside)
    (inside / "a" / "up").symlink_to("..")
    (inside / "b" / "across").symlink_to("../a")
    (outside / "deep" / "round").symlink_to(outside)
    (outside / "above").symlink_to(tmp_path)
    (inside / "itself").symlink_to("itself")
    found = [row.values[0] for row in read_all(open_source(inside), 2)]
    linked = [f"{place}/{name}" for place in ("a", "b/across") for name in ("1.txt", "linked/deep/1.txt")]
    assert found == [*linked[:2], "b/1.txt", *linked[2:], "itself"]


def test_folder_is_its_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".hidden/3.txt", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert [row.values for row in read_all(source, 2)] == [("a.txt",), ("b/1.txt",), ("b/2.txt",)]
    before = source.identity()
    (tmp_path / "a.txt").write_text("another text")
    assert open_source(tmp_path).identity() != before
