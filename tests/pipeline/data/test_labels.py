from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.labels import LabelReader, find_twins, likeliest, plain
from pipeline.errors import DataError
from pipeline.recipe.data import Labels, Range


def read(
    *values: str | None, classes: dict[str, Range] | None = None, **section: object
) -> tuple[list[str | None], list[str]]:
    """The labels of values on the lines from 2 on, and what there is to tell."""
    reader = LabelReader(Labels.model_validate(section), classes)
    labels = [reader.read(value, f"t.csv, line {line}") for line, value in enumerate(values, 2)]
    return labels, reader.finish()


TWINS = [
    ("Pos", "pos"),
    ("a  b", "a b"),
    ("pos", "pos\u200b"),
    ("caf\u00e9", "cafe\u0301"),
    ("\uff41", "a"),
    ("stra\u00dfe", "STRASSE"),
    ("1", "1.0"),
    ("1", "01"),
    ("1", "1e0"),
    ("-0", "0"),
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_read_refuses_twins_with_a_remedy_that_mends_them(one: str, other: str) -> None:
    with pytest.raises(DataError) as refused:
        read(one, one, other, "else")
    message = str(refused.value)
    assert "look like one another" in message
    assert "data.labels.on_twins: keep" in message
    rename = yaml.safe_load(message.partition("data.labels.rename: ")[2].partition(". If not")[0])
    labels, _ = read(one, one, other, "else", rename=rename)
    assert len(set(labels)) == 2
    assert labels[0] == labels[2]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_read_keeps_twins_as_two_classes_when_told(one: str, other: str) -> None:
    assert read(one, other, on_twins="keep") == ([one, other], [])


LONG = ["10000000000000001", "10000000000000002"]  # one number as binary floats of 64 bits


def test_find_twins_takes_what_differs_to_the_eye_for_different() -> None:
    assert find_twins(["1", "10", "1.5", "one", "a b", "ab", "v1", "v1.0", "1e999999", *LONG]) == []
    assert find_twins(["b", "B", "1.0", "x", "1"]) == [("B", "b"), ("1", "1.0")]


def test_likeliest_is_the_most_frequent_that_everybody_sees() -> None:
    assert likeliest(["Pos", "pos"], {"Pos": 3, "pos": 2}) == "Pos"
    assert likeliest(["pos", "pos\u200b"], {"pos": 1, "pos\u200b": 9}) == "pos"
    assert likeliest(["1", "1.0"], {"1": 2, "1.0": 2}) == "1"


def test_read_keeps_and_tells_values_that_other_tools_take_for_missing() -> None:
    values = ["NA", "None", "null", "n/a", "nan", "fine"]
    labels, (told,) = read(*values)
    assert labels == values
    assert all(f'"{value}" (1)' in told for value in values[:-1])
    assert "fine" not in told
    leave_out = yaml.safe_load(told.partition("data.labels.leave_out: ")[2])
    assert read(*values, leave_out=leave_out)[0] == [None] * 5 + ["fine"]


def test_read_refuses_missing_labels_with_their_lines() -> None:
    with pytest.raises(DataError) as refused:
        read("a", "", "b", None, " \t")
    assert "3 sample(s) have no label" in str(refused.value)
    assert all(f"t.csv, line {line}\n" in str(refused.value) for line in (3, 5, 6))
    assert "data.labels.on_missing: skip" in str(refused.value)


def test_read_skips_and_counts_missing_labels_when_told() -> None:
    labels, told = read("a", "", "b", None, on_missing="skip")
    assert labels == ["a", None, "b", None]
    assert told == ["2 sample(s) without a label are left out"]


@pytest.mark.parametrize("label", ["a\nb", "a\tb", "\x1b[31mred", "a\rb", "bell\a", "a\x85b"])
def test_read_refuses_control_characters_with_a_remedy_that_mends_them(label: str) -> None:
    with pytest.raises(DataError) as refused:
        read(label, "other")
    message = str(refused.value)
    assert label not in message
    rename = yaml.safe_load(message.partition("data.labels.rename: ")[2])
    assert rename == {label: plain(label)}
    assert read(label, "other", rename=rename)[0] == [plain(label), "other"]


@given(st.text("a b\n\r\t\0\x85\u200b\ud800\u00e9"))
def test_plain_gives_a_name_without_control_characters(label: str) -> None:
    assert plain(label)
    assert plain(plain(label)) == plain(label)
    assert not set(plain(label)) & set("\n\r\t\0\x85")


def test_plain_reads_bytes_that_are_not_utf_8_as_older_systems_do() -> None:
    assert plain(os.fsdecode(b"caf\xe9")) == "café"
    assert plain(os.fsdecode(b"caf\xe8 \x81")) == "cafè \ufffd"


def test_read_takes_spaces_around_for_nothing_and_says_so() -> None:
    assert read("a ", " a", "b") == (
        ["a", "a", "b"],
        ["2 label(s) had spaces around them, which do not count"],
    )


def test_read_renames_and_leaves_out_as_told() -> None:
    labels, told = read("Pos", "pos", "neg", "?", rename={"Pos": "pos"}, leave_out=("?",))
    assert labels == ["pos", "pos", "neg", None]
    assert told == ["left out by data.labels.leave_out: ? (1)"]


def test_read_refuses_labels_that_the_names_lack() -> None:
    with pytest.raises(DataError) as refused:
        read("a", "c", "c", names=("a", "b"))
    assert '"c" (2)' in str(refused.value)
    assert '"a"' not in str(refused.value)
    assert read("a", "b", names=("b", "a", "later"))[0] == ["a", "b"]


def test_read_refuses_measurements_and_takes_few_or_whole_numbers() -> None:
    with pytest.raises(DataError, match=r"data\.table\.classes"):
        read(*(str(index / 7) for index in range(40)))
    halves, whole = [str(index / 2) for index in range(10)], [str(index) for index in range(100)]
    assert read(*halves)[0] == halves
    assert read(*whole)[0] == whole


CLASSES = {"low": Range(below=0.5), "high": Range.model_validate({"from": 0.5})}


def test_read_makes_classes_of_numbers_when_ranges_are_given() -> None:
    assert read("0.1", " 0.5", "-3", "1e3", classes=CLASSES)[0] == ["low", "high", "low", "high"]


@pytest.mark.parametrize(
    ("value", "classes", "words"),
    [
        ("x", CLASSES, "needs numbers, but the label is 'x'"),
        ("nan", CLASSES, "needs numbers"),
        ("2", {"low": Range(below=1)}, "no class"),
        ("0", {"a": Range(below=1), "b": Range(below=2)}, r"more than one class \(a, b\)"),
    ],
)
def test_read_refuses_when_a_number_is_in_no_one_class(
    value: str, classes: dict[str, Range], words: str
) -> None:
    with pytest.raises(DataError, match=f"line 2: .*{words}"):
        read(value, classes=classes)
