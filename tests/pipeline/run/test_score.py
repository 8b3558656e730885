from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import DataError, GateFailedError
from pipeline.run.score import Wanted, score_place

ROWS = [
    ("it was good", "good"),
    ("so bad", "bad"),
    ("good day", "good"),
    ("bad rain", "bad"),
    ("sun", "good"),
]


def table(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def test_score_place_answers_as_predict_does_and_leaves_the_run_alone_when_data_are_new(
    text_run: Path, tmp_path: Path
) -> None:
    from pipeline.run.predict import Input, predict_all

    before = state(text_run)
    outcome = score_place(text_run, table(tmp_path / "new.csv", ROWS))
    answers = predict_all(text_run, [Input(text=text) for text, _ in ROWS])
    right = [
        answer.prediction and answer.prediction.label == label
        for answer, (_, label) in zip(answers, ROWS, strict=True)
    ]
    assert outcome.score.accuracy == sum(map(bool, right)) / len(ROWS)
    assert (outcome.score.samples, outcome.seen, outcome.unread, outcome.left_out) == (5, 0, [], {})
    assert state(text_run) == before


def test_score_place_scores_a_bundle_and_counts_what_trained_it_when_the_run_is_known(
    text_run: Path, tmp_path: Path
) -> None:
    with (text_run / "data" / "contents.csv").open(newline="") as file:
        texts = {row["source"]: row["text"] for row in csv.DictReader(file)}
    with (text_run / "data" / "samples.csv").open(newline="") as file:
        samples = list(csv.DictReader(file))
    place = table(tmp_path / "old.csv", [(texts[row["source"]], row["label"]) for row in samples])
    trained = sum(row["split"] != "test" for row in samples)
    by_run, by_bundle = score_place(text_run, place), score_place(text_run / "bundle", place)
    assert by_run.score == by_bundle.score
    assert (by_run.seen, by_bundle.seen) == (trained, 0)
    assert f"{trained} of {len(samples)} samples trained or selected" in by_run.to_text()


def test_score_place_refuses_labels_that_the_model_does_not_know_unless_told_to_leave_them_out(
    text_run: Path, tmp_path: Path
) -> None:
    place = table(tmp_path / "new.csv", [*ROWS, ("odd", "Good"), ("odder", "neither"), ("oddest", "neither")])
    with pytest.raises(
        DataError, match=r"(?s)Good: 1\n  neither: 2\nIt knows bad, good.*--leave-out-unknown"
    ):
        score_place(text_run, place)
    outcome = score_place(text_run, place, Wanted(leave_out_unknown=True))
    assert (outcome.score.samples, outcome.left_out) == (5, {"Good": 1, "neither": 2})
    assert "left out: 3 samples of unknown labels: Good (1), neither (2)" in outcome.to_text()


def test_score_place_lists_what_cannot_be_read(text_run: Path, tmp_path: Path) -> None:
    for index, (text, label) in enumerate(ROWS):
        (tmp_path / "new" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / label / f"{index}.txt").write_text(text)
    (tmp_path / "new" / "bad" / "9.txt").write_bytes(b"caf\xe9 \xff")
    outcome = score_place(text_run, str(tmp_path / "new"))
    assert outcome.score.samples == 5
    assert [(each.source, each.code) for each in outcome.unread] == [("bad/9.txt", "not_utf8")]
    assert "unread: 1 samples could not be read" in outcome.to_text()
    assert "bad/9.txt: " in outcome.to_text()


def test_score_place_refuses_when_nothing_is_left_to_score(text_run: Path, tmp_path: Path) -> None:
    place = table(tmp_path / "none.csv", [("odd", "neither")])
    with pytest.raises(DataError, match=r"leaves no sample to score\. 1 have labels that the model does not"):
        score_place(text_run, place, Wanted(leave_out_unknown=True))


def test_score_place_takes_one_split_when_it_is_named(text_run: Path, tmp_path: Path) -> None:
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        for index, (text, label) in enumerate(rows):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index}.txt").write_text(text)
    place = str(tmp_path / "data")
    assert score_place(text_run, place).score.samples == 7
    assert score_place(text_run, place, Wanted(split="test")).score.samples == 2
    with pytest.raises(DataError, match="names no split validation; it names test, train"):
        score_place(text_run, place, Wanted(split="validation"))


def test_score_place_needs_no_columns_that_only_train(text_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(text_run, tmp_path / "run"))
    document = yaml.safe_load((run / "recipe.yaml").read_text())
    document["data"]["table"] = {"probabilities": {"good": "p"}, "weight": "w"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(document))
    assert score_place(run, table(tmp_path / "new.csv", ROWS)).score.samples == len(ROWS)


def test_score_place_reads_as_a_recipe_says(text_run: Path, tmp_path: Path) -> None:
    table(tmp_path / "new.csv", [("so bad", "-"), ("good", "+")], ("tweet", "mood"))
    (tmp_path / "r.yaml").write_text(
        (text_run / "recipe.yaml").read_text().partition("data:")[0]
        + "data: {source: new.csv, table: {text: tweet, label: mood}, "
        + "labels: {rename: {'-': bad, '+': good}}}\nbackbone: {name: tiny}\n"
    )
    outcome = score_place(text_run, str(tmp_path / "r.yaml"))
    assert {label: row.support for label, row in outcome.score.per_class.items()} == {"bad": 1, "good": 1}


def test_score_place_has_every_figure_when_a_label_is_absent(text_run: Path, tmp_path: Path) -> None:
    outcome = score_place(text_run, table(tmp_path / "one.csv", [("<b>good</b>", "good")]))
    assert (outcome.score.samples, outcome.score.intervals_95.auroc) == (1, (0.0, 1.0))
    assert "absent: no sample has the label bad" in outcome.to_text()
    assert "NOT better than guessing" in outcome.to_text() or "too few samples to tell" in outcome.to_text()


def test_require_names_each_figure_that_is_missed(text_run: Path, tmp_path: Path) -> None:
    outcome = score_place(text_run, table(tmp_path / "new.csv", ROWS))
    outcome.require({"accuracy": 0.0})
    with pytest.raises(GateFailedError, match=r"accuracy is \d\.\d+, required 1\.5; auroc is .*, required 2"):
        outcome.require({"accuracy": 1.5, "auroc": 2.0})


def test_evaluate_prints_json_writes_the_page_and_ends_with_3_when_a_requirement_is_missed(
    text_run: Path, tmp_path: Path
) -> None:
    place, page = (
        table(tmp_path / "new.csv", [*ROWS, ("<script>bad</script> good", "bad")]),
        tmp_path / "p.html",
    )
    arguments = ["-q", "evaluate", str(text_run), "--data", place, "--report", str(page), "--json"]
    done = CliRunner().invoke(main, [*arguments, "--require", "accuracy=1.01"])
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert list(document) == ["place", "model", "score", "left_out", "unread", "seen"]
    assert document["score"]["samples"] == 6
    assert document["model"]["artifact"] == "onnx-fp32"
    assert "<script>" not in page.read_text()
    assert "Measured on 6 samples" in page.read_text()
    assert CliRunner().invoke(main, [*arguments, "--require", "accuracy=0"]).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "x", "--force"], "which --data does not carry out"),
        (["--require", "accuracy=0.5"], "go with --data"),
        (["--data", "x", "--require", "acuracy=0.5"], "no such metric: acuracy"),
        (["--data", "x", "--require", "accuracy"], "is not METRIC=VALUE"),
    ],
)
def test_evaluate_refuses_options_that_do_not_go_together(options: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", "run", *options])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.slow
def test_score_place_scores_pictures_and_shows_mistakes(
    tiny_run: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "new")
    shutil.copytree(pictures / "bars", tmp_path / "new" / "plain", dirs_exist_ok=True)
    (tmp_path / "new" / "bars" / "broken.png").write_bytes(b"no picture")
    outcome = score_place(tiny_run, str(tmp_path / "new"), Wanted(report=tmp_path / "page.html"))
    assert (outcome.score.samples, len(outcome.unread)) == (80, 1)
    assert "broken.png" in outcome.to_text()
    assert (tmp_path / "page.html").read_text().count("%, is ") >= 20
