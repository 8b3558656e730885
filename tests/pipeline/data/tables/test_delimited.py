from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.tables.delimited import open_delimited, propose_readings
from pipeline.data.tables.encodings import guess_encoding
from pipeline.errors import DataError
from pipeline.recipe.data import Table

SETTINGS = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
MARKS = {"utf-8": b"", "utf-8-sig": b"\xef\xbb\xbf"}
ALPHABET = "ab1 é\"',;\t|\\"


def read(path: Path, **options: object) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = open_delimited(path, Table.model_validate(options))
    return rows.columns, [row.values for row in rows]


def write(folder: Path, content: str | bytes, name: str = "samples.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@st.composite
def tables(draw: st.DrawFn, extra: str) -> list[list[str]]:
    width = draw(st.integers(2, 4))
    cell = st.text(alphabet=ALPHABET + extra, max_size=8)
    return draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=6))


def check(content: bytes, columns: list[str], rows: list[list[str]], **options: object) -> bool:
    """Whether the table was read, and not refused; what was read must be what was written."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content, "samples.txt")
        if not options.pop("header"):
            options["columns"] = columns
        try:
            found = read(path, **options)
        except DataError:
            return False
    assert found == (tuple(columns), [tuple(row) for row in rows])
    return True


@SETTINGS
@given(
    rows=tables("\n\r"),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\r\n", "\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    escape=st.booleans(),
    encoding=st.sampled_from(ENCODINGS),
    header=st.booleans(),
    told=st.booleans(),
)
def test_open_delimited_gives_what_a_writer_wrote_or_refuses(
    rows: list[list[str]],
    separator: str,
    end: str,
    quoting: int,
    escape: bool,
    encoding: str,
    header: bool,
    told: bool,
) -> None:
    if end == "\n" and quoting == csv.QUOTE_MINIMAL:  # this writer leaves lone carriage returns unquoted
        rows = [[value.replace("\r", "") for value in row] for row in rows]
    columns = [f"name{index}" for index in range(len(rows[0]))]
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=separator,
        lineterminator=end,
        quoting=quoting,
        escapechar="\\" if escape else None,
        doublequote=not escape,
    )
    writer.writerows([columns, *rows] if header else rows)
    options: dict[str, object] = {"header": header}
    if told:
        options |= {"separator": separator, "quoting": "csv", "escape": "\\" if escape else None}
    assert check(text.getvalue().encode(encoding), columns, rows, **options) or not told


@SETTINGS
@given(
    rows=tables(""),
    separator=st.sampled_from(",;\t|"),
    ends=st.lists(st.sampled_from(["\r\n", "\n", "\r"]), min_size=1, max_size=3),
    encoding=st.sampled_from(ENCODINGS),
    header=st.booleans(),
    told=st.booleans(),
)
def test_open_delimited_gives_what_stands_in_a_dump_without_quoting_or_refuses(
    rows: list[list[str]], separator: str, ends: list[str], encoding: str, header: bool, told: bool
) -> None:
    rows = [[value.replace(separator, "") for value in row] for row in rows]
    columns = [f"name{index}" for index in range(len(rows[0]))]
    lines = [separator.join(row) for row in ([columns, *rows] if header else rows)]
    text = "".join(line + ends[index % len(ends)] for index, line in enumerate(lines))
    options: dict[str, object] = {"header": header}
    if told:
        options |= {"separator": separator, "quoting": "none"}
    if not told and any(text == as_csv(text, separator, ends, quoting) for quoting in (0, 1, 2)):
        return  # byte for byte what a writer of CSV makes of other values: nobody can tell
    assert check(text.encode(encoding), columns, rows, **options) or not told


def as_csv(text: str, separator: str, ends: list[str], quoting: int) -> str:
    """What a writer of CSV makes of the values that a reader of CSV finds."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return ""
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        values = [number(value) if quoting == csv.QUOTE_NONNUMERIC else value for value in row]
        csv.writer(line, delimiter=separator, lineterminator="", quoting=quoting).writerow(values)
        lines.append(line.getvalue())
    return "".join(line + ends[index % len(ends)] for index, line in enumerate(lines)) if '"' in text else ""


def number(value: str) -> object:
    return int(value) if value.isdecimal() and str(int(value)) == value else value


def test_open_delimited_keeps_every_row_when_a_quote_is_a_character(tmp_path: Path) -> None:
    lines = ["text\tlabel", *(f"plain {index}\tx" for index in range(20)), '"begins\ty', 'says "hi" and\tx']
    path = write(tmp_path, "\n".join(lines), "samples.tsv")
    assert len(read(path)[1]) == 22
    merging = write(tmp_path, "\n".join([*lines[:-1], 'a screen of 5"\tx', "last\ty"]), "merging.tsv")
    with pytest.raises(DataError, match=r"24 rows with data\.table\.quoting: none\n"):
        read(merging)
    assert len(read(merging, quoting="none")[1]) == 23
    assert [(table.quoting, table.escape) for table in propose_readings(merging, Table())] == [
        ("none", None),
        ("csv", None),
    ]


def test_open_delimited_reads_backslashes_before_quotes_as_escapes_when_there_are_enough(
    tmp_path: Path,
) -> None:
    line = '"he said \\"x\\" to me",a\n'
    with pytest.raises(DataError, match=r"data\.table\.escape"):
        read(write(tmp_path, "text,label\n" + line))
    assert read(write(tmp_path, "text,label\n" + 4 * line))[1] == 4 * [('he said "x" to me', "a")]
    assert read(write(tmp_path, "text,label\n" + line), quoting="none")[1] == [
        ('"he said \\"x\\" to me"', "a")
    ]


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("\ufefftext,label\r\na,b\rc,d\n\n", ("text", "label"), [("a", "b"), ("c", "d")]),
        ("sep=;\r\ntext;label\r\na,x;b\r\n", ("text", "label"), [("a,x", "b")]),
        ("text;label\n1,5;x\n2,5;y\n", ("text", "label"), [("1,5", "x"), ("2,5", "y")]),
        ("text\tlabel\n\t\n  \na, b\tx\n", ("text", "label"), [("", ""), ("a, b", "x")]),
        ("text, label\na,b\n", ("text", "label"), [("a", "b")]),
        ("text|label\na,b|c\n".encode("utf-16"), ("text", "label"), [("a,b", "c")]),
        ('"text","label"\n"a","b"\n', ("text", "label"), [("a", "b")]),
    ],
)
def test_open_delimited_finds_separator_and_encoding(
    tmp_path: Path, content: str | bytes, columns: tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    assert read(write(tmp_path, content)) == (columns, rows)


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("text,label\na,b\nc\nd,e,f\n", {}, ["line 3: 1 values", "line 4: 3 values", "text", "2 rows"]),
        (
            "text,label\na\nd,e,f\n",
            {"separator": ",", "quoting": "csv"},
            ["2 rows", "line 2: 1 values", "line 3: 3 values"],
        ),
        ("text,text,\na,b,c\n", {}, ["name 'text'", "data.table.columns"]),
        ("text\na\n", {}, ["one column only", "data.table.separator"]),
        ("", {}, ["empty"]),
        ("text,label\na\0,b\n", {}, ["line 2", "NUL", "utf-16"]),
        (b"text,label\ncaf\xe9,b\n", {}, ["line 2", "0xe9", "data.table.encoding: cp1252"]),
        ("text,label\na,b\n", {"encoding": "no-such"}, ["data.table.encoding", "no-such"]),
        ("text,label\n\"a,b\nc,d\n", {"quoting": "csv"}, ["line 2", "never closed", "data.table.quoting"]),
        ('text,label\n"a"b,c\n', {"quoting": "csv"}, ["line 2", "after a closing quote"]),
        ("a,b;c\nd,e;f\n", {}, ["comma", "semicolon", "data.table.separator"]),
        ("a b\n", {"separator": "whitespace", "quoting": "csv"}, ["whitespace"]),
        ("a b\n", {"separator": "::"}, ["data.table.separator", "one character"]),
    ],
)  # fmt: skip
def test_open_delimited_refuses_with_place_and_remedy_when_the_table_is_faulty(
    tmp_path: Path, content: str | bytes, options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(DataError) as refused:
        read(write(tmp_path, content), **options)
    assert [word for word in words if word not in str(refused.value)] == []


def test_guess_encoding_takes_the_code_page_in_which_all_bytes_have_a_meaning(tmp_path: Path) -> None:
    for content, encoding in [
        ("é".encode(), "utf-8"),
        ("é“".encode("cp1252"), "cp1252"),
        (b"\x81\xe9", "latin-1"),
        ("text,label".encode("utf-16-be"), "utf-16-be"),
        ("text".encode("utf-16"), "utf-16-le"),
    ]:
        assert guess_encoding(write(tmp_path, content)) == encoding
