"""A kind of input that no other file of the project knows, from a table to answers of the service."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import tritonclient.http as triton

from pipeline.artifacts.checkpoint import load_checkpoint
from pipeline.jobs.job import predict_table
from pipeline.jobs.work import Asked
from pipeline.measures.reference import read_reference
from pipeline.modalities.registry import find_modality, modules_of
from serving.client import Client
from serving.model.inputs.registry import find_kind
from tests.conftest import ROOT, free_port, run_graft, serving
from tests.kinds.installing import install

LABELS = ("down", "flat", "up")
COLUMNS = 16
pytestmark = pytest.mark.slow


def make_rows() -> list[tuple[list[float], str]]:
    """240 rows of 16 numbers around three centres, one a label."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, COLUMNS))
    return [
        ((centres[index % 3] + 0.8 * rng.normal(size=COLUMNS)).round(3).tolist(), LABELS[index % 3])
        for index in range(240)
    ]


ROWS = make_rows()


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the kind's package, on the path of this process and of those that it starts."""
    folder = install(tmp_path_factory.mktemp("packages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
        find_modality.cache_clear()
        find_kind.cache_clear()
        yield folder
    find_modality.cache_clear()
    find_kind.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "graft_rows"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``graft init`` writes for a table."""
    folder = tmp_path_factory.mktemp("rows")
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("values", "label"), *((json.dumps(row), label) for row, label in ROWS)])
    done = run_graft("init", folder / "rows.csv", "--output", folder / "recipe.yaml", "--json")
    found = json.loads(done.stdout)
    assert (found["modality"], found["samples"], found["labels"]) == ("row", 240, dict.fromkeys(LABELS, 80))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def run(recipe: Path) -> Path:
    """A finished run."""
    folder = recipe.parent / "run"
    done = run_graft("run", recipe, "--run", folder)
    assert "onnx-int8     published" in done.stdout
    assert f"service   graft serve {folder}" in done.stdout.splitlines()
    assert "BentoML has no service for row input" in done.stderr
    return folder


@pytest.fixture(scope="module")
def url(run: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(run), "--port", str(port)]
    with serving(command, port) as address:
        yield address


def answer_exactly(run: Path, rows: list[list[float]]) -> np.ndarray:
    """The checkpoint's calibrated probabilities, by torch: float32 of shape (rows, 3)."""
    classifier, card = load_checkpoint(run / "checkpoint")
    assert card.labels == LABELS
    temperature = read_reference(run / "evaluate" / "reference.npz").temperature
    with torch.inference_mode():
        return torch.softmax(classifier(row=torch.tensor(rows)) / temperature, dim=1).numpy()


def test_recipe_says_what_the_kind_found(recipe: Path) -> None:
    text = recipe.read_text()
    assert "modality: row                # image, text or row" in text
    assert 'text: "values"          # column with the row itself' in text
    assert f"row:\n  columns: {COLUMNS}\n" in text


def test_run_is_skipped_when_nothing_has_changed(run: Path, recipe: Path) -> None:
    document = json.loads(run_graft("run", recipe, "--run", run, "--json").stdout)
    assert all(stage["skipped"] for stage in document["stages"])
    assert document["bento"] is None
    assert json.loads((run / "package" / "bento.json").read_text()) == {"model": None, "bento": None}


def test_int8_has_8_bit_products(run: Path) -> None:
    nodes = onnx.load(run / "bundle" / "model-int8.onnx").graph.node
    assert [node.op_type for node in nodes].count("MatMulInteger") == 2


@pytest.mark.parametrize(("artifact", "tolerance"), [("onnx-fp32", 1e-5), ("onnx-int8", 0.05)])
def test_predict_answers_as_the_checkpoint(
    run: Path, artifact: str, tolerance: float, tmp_path: Path
) -> None:
    rows = [row for row, _ in ROWS[:6]]
    (tmp_path / "row.json").write_text(json.dumps(rows[0]))
    texts = [part for row in rows[1:] for part in ("--text", json.dumps(row))]
    command = ["predict", run, tmp_path / "row.json", *texts, "--artifact", artifact, "--json"]
    answers = json.loads(run_graft(*command).stdout)
    found = np.array([[answer["probabilities"][label] for label in LABELS] for answer in answers])
    np.testing.assert_allclose(found, answer_exactly(run, rows), atol=tolerance)
    assert [answer["label"] for answer in answers] == [label for _, label in ROWS[:6]]


def test_predict_says_what_is_no_row(run: Path) -> None:
    done = run_graft("predict", run, "--text", "[1, 2]", check=1)
    assert f"The row must have {COLUMNS} finite numbers." in done.stdout


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_table_of_rows_gets_the_answers_of_the_checkpoint(run: Path, tmp_path: Path, suffix: str) -> None:
    rows = [row for row, _ in ROWS[:6]]
    table, output = tmp_path / f"rows{suffix}", tmp_path / "answers.jsonl"
    if suffix == ".parquet":
        pq.write_table(pa.table({"n": range(7), "values": [*rows, None]}), table)
    elif suffix == ".jsonl":
        table.write_text(
            "".join(json.dumps({"n": n, "values": row}) + "\n" for n, row in enumerate([*rows, "x"]))
        )
    else:
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("n", "values"), *((n, row) for n, row in enumerate([*rows, [1]]))])
    predict_table(Asked(run / "bundle", table, output, column="values"))
    *answers, bad = [json.loads(line) for line in output.read_text().splitlines()]
    found = np.array([[answer["probabilities"][label] for label in LABELS] for answer in answers])
    np.testing.assert_allclose(found, answer_exactly(run, rows), atol=1e-5)
    assert bad["error_code"] == ("missing_value" if suffix == ".parquet" else "not_a_row")


def test_client_gets_the_answers_of_the_checkpoint(run: Path, url: str) -> None:
    rows = [row for row, _ in ROWS[:6]]
    with Client(url) as client:
        one, many = client.predict("row", rows[0]), client.predict_many("row", rows)
    found = np.array([[answer.probabilities[label] for label in LABELS] for answer in (one, *many)])
    np.testing.assert_allclose(found, answer_exactly(run, [rows[0], *rows]), atol=1e-5)


def test_open_inference_protocol_gets_the_answers_of_the_checkpoint(run: Path, url: str) -> None:
    rows = [row for row, _ in ROWS[:6]]
    tensor = triton.InferInput("row", (6, COLUMNS), "FP32").set_data_from_numpy(np.array(rows, np.float32))
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        found = client.infer("rows", [tensor]).as_numpy("probabilities")
    np.testing.assert_allclose(found, answer_exactly(run, rows), atol=1e-5)


def test_page_invites_to_give_a_row(url: str) -> None:
    page = httpx.get(url, headers={"accept": "text/html"}).text
    assert "Give it a row of numbers." in page


def test_report_of_mistakes_is_written(run: Path) -> None:
    samples = json.loads((run / "evaluate" / "metrics.json").read_text())["samples"]
    assert f"{samples} held-out samples" in (run / "evaluate" / "report.html").read_text()


def test_modules_of_names_both_sides() -> None:
    assert modules_of("row") == ("graft_rows.modality", "graft_rows.served", "graft_rows.training")
