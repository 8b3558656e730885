"""Probabilities and weights of a table: read, checked, merged, kept in the run, and part of its hash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.audit import audit
from pipeline.data.definition import DATA
from pipeline.data.labelled import Labelled
from pipeline.data.soft import merged, refuse_weightless
from pipeline.data.stage import prepare_data
from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, digest, read_samples
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Data
from pipeline.recipe.reading import parse_recipe
from tests.encoders import text_recipe
from tests.pipeline.data.tiny import make_files, make_pictures, read

HEADER = "text,label,bad,trust\n"
ROWS = "dull,fine,0.25,1\nbroken,bad,1,0.5\nwhole,fine,0,2\n"
BAD = {"probabilities": {"bad": "bad"}}


def table(folder: Path, rows: str = ROWS, header: str = HEADER) -> Path:
    path = folder / "t.csv"
    path.write_text(header + rows)
    return path


def shares(source: Path, **form: object) -> dict[str | None, tuple[float, ...] | None]:
    return {each.text: each.probabilities for each in read(source, "text", table=form).examples}


def test_probabilities_of_one_class_leave_the_rest_to_the_other(tmp_path: Path) -> None:
    intake = read(table(tmp_path), "text", table={**BAD, "weight": "trust"})
    assert [each.probabilities for each in intake.examples] == [(0.25, 0.75), (1.0, 0.0), (0.0, 1.0)]
    assert [each.weight for each in intake.examples] == [1.0, 0.5, 2.0]
    assert [each.label for each in intake.examples] == ["fine", "bad", "fine"]
    told = "\n".join(intake.remarks)
    assert "training aims at the probabilities of `bad`: 1 samples are not certain" in told
    assert "`trust`: 0 have none" in told


def test_probabilities_of_a_number_that_is_the_label_too(tmp_path: Path) -> None:
    path = table(tmp_path, "a,0.333\nb,1.0\nc,0\n", "text,p\n")
    form = {
        "label": "p",
        "classes": {"functional": {"below": 0.5}, "defective": {"from": 0.5}},
        "probabilities": {"defective": "p"},
    }
    assert shares(path, **form) == {"a": pytest.approx((0.333, 0.667)), "b": (1, 0), "c": (0, 1)}


def test_probabilities_of_every_class_are_rounded_ones_made_whole(tmp_path: Path) -> None:
    path = table(tmp_path, "x,a,0.3333,0.3333,0.3333\ny,b,0,1,0\nz,c,0,0,1\n", "text,label,a,b,c\n")
    names = {"c": "c", "a": "a", "b": "b"}
    assert shares(path, probabilities=names)["x"] == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-12)
    assert shares(path, probabilities={"c": "c", "a": "a"})["x"] == pytest.approx((0.3333, 0.3334, 0.3333))


def test_labels_that_are_not_the_likeliest_class_are_told(tmp_path: Path) -> None:
    told = read(table(tmp_path, "x,bad,0.2,1\ny,fine,0.1,1\n"), "text", table=BAD).remarks
    assert any("the label of 1 samples is not their most probable class" in each for each in told)


@pytest.mark.parametrize(
    ("rows", "form", "message"),
    [
        (
            "x,bad,1.5,1\ny,fine,nan,1\nz,fine,,1\n",
            BAD,
            r"3 value\(s\) are no number from 0 to 1:\n  t.csv, line 2: 1.5\n.*nan\n.*nothing\nCorrect them",
        ),
        ("x,bad,50%,1\ny,fine,0,1\n", BAD, "line 2: 50%\nCorrect them; divide percentages by 100"),
        (
            "x,bad,1,-1\ny,fine,0,inf\n",
            {"weight": "trust"},
            r"2 value\(s\) are no number of 0 or more",
        ),
        ("x,bad,1,0\ny,fine,0,0\n", {"weight": "trust"}, "weight: all weights are 0. Give"),
        (
            ROWS,
            {"probabilities": {"worse": "bad"}},
            "`worse` is no class of the data; the classes are `bad`",
        ),
        (
            "x,bad,1,1\ny,fine,0,0\nz,odd,0,0\n",
            BAD,
            "`fine`, `odd` have no column; the classes are .* for each but one, which gets the rest",
        ),
        (
            "x,bad,1,0\ny,fine,0.5,0.6\n",
            {"probabilities": {"bad": "bad", "fine": "trust"}},
            r"probabilities of 1 row\(s\) do not sum to one:\n  t.csv, line 3: 1.1\nCorrect these rows",
        ),
        (ROWS, {"probabilities": {"bad": "bat"}}, r"no column .bat. for data.table.probabilities.bad"),
        (ROWS, {"weight": "w"}, r"no column .w. for data.table.weight"),
    ],
)
def test_read_labelled_refuses_wrong_numbers_with_the_rows_and_the_remedy(
    tmp_path: Path, rows: str, form: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, rows), "text", table=form)


def test_read_labelled_refuses_columns_of_a_folder(tmp_path: Path) -> None:
    make_files(tmp_path, ["a/1.txt", "b/2.txt"])
    with pytest.raises(DataError, match=r"data.table.probabilities, data.table.weight: .* has no columns"):
        read(tmp_path, "text", table={**BAD, "weight": "w"})


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), min_size=1, max_size=6))
def test_merged_examples_have_the_mean_of_all(numbers: list[tuple[float, float]]) -> None:
    equal = [
        Labelled(str(n), "a", text="t", probabilities=(p, 1 - p), weight=w)
        for n, (p, w) in enumerate(numbers)
    ]
    one = merged(equal, equal[0])
    assert one.source == "0"
    assert one.probabilities is not None
    assert sum(one.probabilities) == pytest.approx(1)
    assert one.probabilities[0] == pytest.approx(sum(p for p, _ in numbers) / len(numbers), abs=1e-9)
    assert one.weight == pytest.approx(sum(w for _, w in numbers) / len(numbers))


def test_audit_keeps_one_of_equal_examples_with_the_mean_of_their_probabilities(tmp_path: Path) -> None:
    path = table(tmp_path, "same,bad,1,1\nsame,bad,0.6,3\nother,fine,0,1\n")
    data = Data.model_validate({"source": str(path), "table": {**BAD, "weight": "trust"}})
    recipe = parse_recipe(text_recipe(path, tmp_path))
    found = audit(read(path, "text", table=data.table).examples, data, find_modality("text").content(recipe))
    assert [(each.example.text, each.example.probabilities, each.example.weight) for each in found.kept] == [
        ("same", pytest.approx((0.8, 0.2)), 2.0),
        ("other", (0.0, 1.0), 1.0),
    ]


def test_rows_of_one_file_are_annotators_whose_mean_counts(tmp_path: Path) -> None:
    make_pictures(tmp_path, ["1.png", "2.png"])
    rows = "1.png,a,1.0\n1.png,a,0.5\n2.png,b,0.0\n"
    intake = read(table(tmp_path, rows, "path,label,p\n"), table={"probabilities": {"a": "p"}})
    assert [each.probabilities for each in intake.examples] == [pytest.approx((0.75, 0.25)), (0.0, 1.0)]
    assert any("1 line(s) name a file once more" in each for each in intake.remarks)


def test_numbers_of_a_parquet_are_read_as_those_of_a_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"text": ["x", "y", "z"], "label": ["a", "b", "b"], "p": [2 / 3, 1e-7, 0.0], "w": [1, 2, 3]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    form = {"probabilities": {"a": "p"}, "weight": "w"}
    found = read(tmp_path / "t.parquet", "text", table=form).examples
    assert [each.probabilities[0] for each in found] == [2 / 3, 1e-7, 0.0]  # type: ignore[index]
    assert [each.weight for each in found] == [1.0, 2.0, 3.0]
    parquet.write_table(pa.table(columns | {"p": [0.5, None, float("nan")]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"2 value\(s\) are no number from 0 to 1"):
        read(tmp_path / "t.parquet", "text", table=form)


def test_refuse_weightless_names_the_classes_that_nothing_teaches() -> None:
    def sample(label: str, split: str, shares: tuple[float, ...] | None, weight: float | None) -> Sample:
        return Sample("s", label, split, "0", None, None, shares, weight)  # type: ignore[arg-type]

    refuse_weightless([sample("a", "train", None, None), sample("b", "train", None, None)])
    with pytest.raises(DataError, match="`b`: in the training split all probabilities or weights"):
        refuse_weightless([sample("a", "train", None, 1.0), sample("b", "train", None, 0.0)])
    with pytest.raises(DataError, match="`a`: in the training split"):
        refuse_weightless([sample("a", "test", (1.0, 0.0), None), sample("b", "train", (0.0, 1.0), None)])


def test_prepare_data_keeps_numbers_in_the_run_and_in_what_training_depends_on(tmp_path: Path) -> None:
    rows = "".join(f"text {n},{('bad', 'fine')[n % 2]},{(n % 7) / 7},{n % 3 + 1}\n" for n in range(40))
    path, run = table(tmp_path, rows), RunFolder(tmp_path / "run")
    form = {**BAD, "weight": "trust"}
    recipe = parse_recipe(text_recipe(path, tmp_path, data={"source": str(path), "table": form}))
    prepare_data(recipe, run)
    samples = read_samples(run)
    assert run.samples.read_text().splitlines()[0] == "source,label,split,p(bad),p(fine),weight"
    for sample in samples:
        number = int(sample.text.split()[1])  # type: ignore[union-attr]
        assert sample.probabilities == ((number % 7) / 7, 1 - (number % 7) / 7)
        assert sample.weight == number % 3 + 1
    before = DATA.inputs(recipe, run)["examples"], digest(samples)
    path.write_text(path.read_text().replace(f",{1 / 7},", ",0.2,"))
    prepare_data(recipe, run)
    assert DATA.inputs(recipe, run)["examples"] != before[0]
    assert digest(read_samples(run)) != before[1]
