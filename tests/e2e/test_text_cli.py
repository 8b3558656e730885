"""Commands on texts as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT, run_graft
from tests.encoders import make_encoder, make_texts, text_recipe

pytestmark = pytest.mark.slow


def test_init_finds_texts_in_a_table_and_in_folders(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Tweet,Sentiment\n1,so good,x\n2,so bad,y\n")
    found = json.loads(
        run_graft("init", tmp_path / "t.csv", "--output", tmp_path / "r.yaml", "--json").stdout
    )
    recipe = yaml.safe_load((tmp_path / "r.yaml").read_text())
    assert (found["modality"], recipe["modality"], found["labels"]) == ("text", "text", {"x": 1, "y": 1})
    assert recipe["data"]["table"] == {
        "separator": ",",
        "encoding": "utf-8",
        "quoting": "csv",
        "text": "Tweet",
        "label": "Sentiment",
    }
    for label in ("up", "down"):
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "a.txt").write_text(label)
    run_graft("init", tmp_path / "texts", "--output", tmp_path / "f.yaml")
    assert yaml.safe_load((tmp_path / "f.yaml").read_text())["modality"] == "text"


def test_run_on_folders_of_text_files_keeps_their_words(tmp_path: Path) -> None:
    for label in ("up", "down"):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for index in range(8):
            (tmp_path / "texts" / label / f"{index}.txt").write_text(f"the day {index} was {label}\n")
    document = text_recipe(tmp_path / "texts", make_encoder(tmp_path / "encoder"))
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(document))
    run_graft("data", tmp_path / "r.yaml", "--run", tmp_path / "run")
    audit = json.loads((tmp_path / "run" / "data" / "audit.json").read_text())
    assert audit["samples"] == 16


@pytest.fixture(scope="module")
def losing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen encoder of random weights on a task that counted pairs of words solve.

    The task is which of two neighbours comes first.
    """
    base, rng = tmp_path_factory.mktemp("losing"), np.random.default_rng(0)
    others = ["the", "day", "was", "so", "sun", "rain", "saw", "table", "very"]

    def text(pair: str) -> str:
        before = int(rng.integers(0, 10))
        return " ".join([*rng.choice(others, before), pair, *rng.choice(others, 10 - before)])

    rows = [f"{text('good bad' if i % 2 else 'bad good')},{'xy'[i % 2]}" for i in range(240)]
    (base / "t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    document = text_recipe(base / "t.csv", make_encoder(base / "encoder"))
    document["finetune"] = {"mode": "features", "device": "cpu"}
    document["evaluate"] = {"bootstrap": 100, "ship_guessing": True}  # an untrained encoder knows no order
    document["data"] |= {"on_conflict": "skip"}
    (base / "r.yaml").write_text(yaml.safe_dump(document))
    return base


def test_run_says_so_and_stops_when_counted_words_do_better(losing: Path) -> None:
    done = run_graft("run", losing / "r.yaml", "--run", losing / "run", check=3)
    assert "Transfer hurts (negative transfer): accuracy" in done.stderr
    assert "of TF-IDF" in done.stderr
    assert "evaluate.ship_negative_transfer: true" in done.stderr
    assert not (losing / "run" / "bundle").exists()
    metrics = json.loads((losing / "run" / "evaluate" / "metrics.json").read_text())
    verdict = metrics["transfer"]
    assert (verdict["answer"], verdict["measure"]) == ("hurts", "accuracy")
    words = next(each for each in verdict["opponents"] if each["name"] == verdict["against"])
    assert verdict["difference"] == pytest.approx(metrics["accuracy"] - words["accuracy"])
    low, high = verdict["difference_95"]
    assert low <= verdict["difference"] <= high < 0
    assert "Transfer hurts" in (losing / "run" / "evaluate" / "report.html").read_text()


def test_evaluate_stops_when_the_model_is_not_better_than_guessing(losing: Path) -> None:
    recipe = yaml.safe_load((losing / "r.yaml").read_text())
    recipe["evaluate"]["ship_guessing"] = False
    (losing / "gated.yaml").write_text(yaml.safe_dump(recipe))
    done = run_graft("run", losing / "gated.yaml", "--run", losing / "run", check=3)
    assert "the model is not better than guessing: balanced accuracy 0." in done.stderr
    metrics = json.loads((losing / "run" / "evaluate" / "metrics.json").read_text())
    assert metrics["guessing"]["verdict"] == "guessing"
    assert "Not better than guessing." in (losing / "run" / "evaluate" / "report.html").read_text()


def test_run_goes_on_where_transfer_hurts_when_told_to(losing: Path) -> None:
    recipe = yaml.safe_load((losing / "r.yaml").read_text())
    recipe["evaluate"]["ship_negative_transfer"] = True
    (losing / "told.yaml").write_text(yaml.safe_dump(recipe))
    done = run_graft("run", losing / "told.yaml", "--run", losing / "run")
    assert "transfer  HURTS: -0." in done.stdout
    assert "goes on, because evaluate.ship_negative_transfer says so" in done.stderr
    assert "receipt   passed" in done.stdout


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "text,label\n" + "".join(f"word {i},x\nwörter {i},y\n" for i in range(9)) + ",x\n",
            ["cannot be read", ":20: The text is empty"],
        ),
        ("text,label\n" + "same,x\nSame,y\n" * 5, ["different labels", "on_conflict: skip"]),
        ("tweet,label\na,x\n", ["data.table.text", "'text'", "'tweet', 'label'"]),
    ],
)
def test_data_refuses_texts_that_cannot_train(tmp_path: Path, rows: str, words: list[str]) -> None:
    (tmp_path / "t.csv").write_text(rows)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(text_recipe(tmp_path / "t.csv", tmp_path)))
    done = run_graft("data", tmp_path / "r.yaml", "--run", tmp_path / "run", check=1)
    assert all(word in done.stderr for word in words), done.stderr
    assert not list((tmp_path / "run").glob("data/*"))


def test_run_is_skipped_when_nothing_changed_and_redone_when_a_text_did(tmp_path: Path) -> None:
    texts = make_texts(tmp_path / "t.csv", 40)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(text_recipe(texts, make_encoder(tmp_path / "encoder"))))
    run_graft("data", tmp_path / "r.yaml", "--run", tmp_path / "run")
    assert "unchanged, skipped" in run_graft("data", tmp_path / "run").stderr
    texts.write_text(texts.read_text().replace("good", "goods", 1))
    assert "unchanged, skipped" not in run_graft("data", tmp_path / "run").stderr


def test_data_of_the_tweets_are_cleaned_as_documented(tmp_path: Path) -> None:
    run_graft("data", ROOT / "examples" / "tweets" / "recipe.yaml", "--run", tmp_path / "run")
    audit = json.loads((tmp_path / "run" / "data" / "audit.json").read_text())
    assert audit["samples"] == 37154
    assert (len(audit["skipped_unreadable"]), len(audit["dropped_repeats"])) == (0, 381)
    assert (len(audit["skipped_conflicts"]), sum(map(len, audit["skipped_conflicts"]))) == (49, 623)
    assert sum(audit["counts"]["test"].values()) == 7437


@pytest.mark.parametrize(
    "lost", ["checkpoint/tokenizer.json", "bundle/tokenizer.json", "bundle/receipts/onnx-fp32.json"]
)
def test_run_mends_itself_when_a_file_was_lost(text_run: Path, tmp_path: Path, lost: str) -> None:
    run = Path(shutil.copytree(text_run, tmp_path / "run"))
    (run / lost).unlink()
    done = run_graft("run", run)
    assert (run / lost).read_bytes() == (text_run / lost).read_bytes()
    assert "receipt   passed" in done.stdout


def test_init_writes_the_encoding_when_a_table_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("text,label\ncaf\u00e9,x\nth\u00e9,y\n".encode("cp1252"))
    run_graft("init", tmp_path / "t.csv", "--output", tmp_path / "r.yaml")
    assert yaml.safe_load((tmp_path / "r.yaml").read_text())["data"]["table"]["encoding"] == "cp1252"


def test_predict_prints_one_line_for_a_text_of_any_bytes(text_run: Path) -> None:
    done = run_graft("predict", text_run, "--text", "so\ngood", "--text", "\udcff bad", check=1)
    first, second = done.stdout.splitlines()
    assert first.startswith("so good: ")
    assert second.startswith("\\udcff bad: error: The text is not UTF-8")
