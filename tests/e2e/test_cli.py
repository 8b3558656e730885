"""The commands as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli.main import COMMANDS
from tests.conftest import ROOT, make_folder, make_picture, recipe_document, run_graft

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "onnx",
    "onnxruntime",
    "bentoml",
    "numpy",
    "sklearn",
    "matplotlib",
    "pydantic",
    "PIL",
)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *[[name, "--help"] for name in COMMANDS]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom pipeline.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: assert end.code == 0\n"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert len(done.stdout.splitlines()) > 1


def test_every_command_has_help_that_says_what_it_does() -> None:
    listing = run_graft("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in listing
        assert len(run_graft(name, "--help").stdout) > 100


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run"], ["run", "x.yaml", "--nope"], ["serve", "x", "--port", "0"], ["predict", "x"]],
)
def test_usage_errors_have_exit_code_2(arguments: list[str]) -> None:
    assert run_graft(*arguments, check=2).stdout == ""


def test_run_lists_all_errors_of_a_recipe_without_starting(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ndata: {sorce: y}\nbackbone: {name: resnet18}\n")
    done = run_graft("run", tmp_path / "r.yaml", "--run", tmp_path / "out", check=1)
    assert "data.sorce: unknown key; did you mean `source`?" in done.stderr
    assert "data.source: is required" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_run_reports_as_text_and_as_json(tiny_run: Path) -> None:
    text = run_graft("run", tiny_run)
    names = ("data", "finetune", "transfer", "evaluate", "export", "verify", "package")
    assert ", ".join(f"{name} skipped" for name in names) in text.stdout
    document = json.loads(run_graft("run", tiny_run, "--json").stdout)
    assert [stage["skipped"] for stage in document["stages"]] == [True] * 7
    assert document["receipt"]["passed"] is True
    assert document["metrics"] == json.loads((tiny_run / "evaluate" / "metrics.json").read_text())
    assert Path(document["report"]).is_file()
    assert f"accuracy  {document['metrics']['accuracy']:.3f}" in text.stdout


@pytest.mark.slow
def test_stage_commands_work_on_the_same_run(tiny_run: Path) -> None:
    for name in ("data", "finetune", "transfer", "evaluate", "export", "verify", "package"):
        document = json.loads(run_graft(name, tiny_run, "--json").stdout)
        assert document["stages"][0]["stage"] == name
        assert document["stages"][0]["skipped"] is True


def test_predict_answers_as_the_service_does_and_reports_bad_files(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(make_picture("bars", 920))
    (tmp_path / "bad.png").write_bytes(b"no")
    good = json.loads(run_graft("predict", tiny_run, tmp_path / "good.png", "--json").stdout)
    assert set(good[0]) == {"file", "label", "probability", "probabilities", "model"}
    mixed = run_graft(
        "predict", tiny_run, tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "none.png", check=1
    )
    lines = mixed.stdout.splitlines()
    assert "error: Not a readable picture" in lines[0]
    assert good[0]["label"] in lines[1]
    assert "No such file" in lines[2]


@pytest.mark.slow
def test_a_missed_gate_has_exit_code_3_and_packages_nothing(
    pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    document = recipe_document(
        pictures, tiny_weights, evaluate={"bootstrap": 100, "require": {"accuracy": 1.01}}
    )
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(document))
    done = run_graft("run", tmp_path / "r.yaml", "--run", tmp_path / "out", check=3)
    assert "required 1.01" in done.stderr
    assert (tmp_path / "out" / "evaluate" / "report.html").is_file()
    assert not (tmp_path / "out" / "bundle").exists()
    assert not (tmp_path / "out" / "package").exists()


@pytest.mark.slow
def test_doctor_says_what_works_here() -> None:
    document = json.loads(run_graft("doctor", "--json").stdout)
    assert document["providers"]["CPUExecutionProvider"] == "works"
    assert document["cpu"]["usable"] >= 1
    assert document["packages"]["torch"]
    if not document["gpus"]:
        assert document["serving"].startswith("what `graft benchmark RUN` recommends")
        assert document["training"].startswith("cpu, ")
    text = run_graft("doctor").stdout
    assert "CPUExecutionProvider" in text
    assert "training   " in text


def test_init_writes_a_recipe_that_loads(tmp_path: Path) -> None:
    make_folder(tmp_path / "My Pictures!", per_label=5)
    done = run_graft("init", tmp_path / "My Pictures!", "--output", tmp_path / "r.yaml", "--json")
    assert json.loads(done.stdout)["labels"] == {"bars": 5, "plain": 5}
    written = (tmp_path / "r.yaml").read_text()
    assert 'name: "my-pictures"' in written
    assert written.count("#") > 15
    again = run_graft("init", tmp_path / "My Pictures!", "--output", tmp_path / "r.yaml", check=1)
    assert "--force" in again.stderr
    assert (tmp_path / "r.yaml").read_text() == written


def test_init_finds_the_columns_of_a_table(tmp_path: Path) -> None:
    make_folder(tmp_path / "p", per_label=3)
    rows = "".join(f"p/{label}/{i:03d}.png;x;{label}\n" for label in ("bars", "plain") for i in range(3))
    (tmp_path / "t.csv").write_text("Filename;other;Class\n" + rows)
    run_graft("init", tmp_path / "t.csv", "--output", tmp_path / "r.yaml")
    table = yaml.safe_load((tmp_path / "r.yaml").read_text())["data"]["table"]
    assert table == {
        "separator": ";",
        "encoding": "utf-8",
        "quoting": "csv",
        "path": "Filename",
        "label": "Class",
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none", "does not exist"),
        (
            lambda folder: (folder / "t.csv", (folder / "t.csv").write_text("a,b\n1,2\n"))[0],
            "no column looks like",
        ),
        (lambda folder: (folder / "e", (folder / "e").mkdir())[0], "no labelled examples"),
    ],
)
def test_init_refuses_what_it_cannot_read(tmp_path: Path, make: object, words: str) -> None:
    recipe = make(tmp_path)  # type: ignore[operator]
    done = run_graft("init", recipe, "--output", tmp_path / "r.yaml", check=1)
    assert words in done.stderr
    assert not (tmp_path / "r.yaml").exists()


def test_lines_replace_the_bar_when_not_a_terminal(
    pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe_document(pictures, tiny_weights)))
    done = run_graft("data", tmp_path / "r.yaml", "--run", tmp_path / "out")
    assert "80 samples of 2 labels; 49 train, 12 validation, 19 test" in done.stderr
    assert "\r" not in done.stderr
    assert run_graft("--quiet", "data", tmp_path / "out", "--force").stderr == ""


def test_debug_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "--debug", "run", "nowhere.yaml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
