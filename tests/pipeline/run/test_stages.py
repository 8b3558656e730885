"""The table of stages: their order and names, what each leaves for the next, and that it is light."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, write_samples
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.stage import Stage
from pipeline.run.imports import source_path
from pipeline.run.stages import DATA, EVALUATE, FINETUNE, STAGES, TRANSFER
from tests.conftest import ROOT, recipe_document

HEAVY = {
    "numpy",
    "onnx",
    "onnxruntime",
    "PIL",
    "scipy",
    "sklearn",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
}


def test_stages_are_carried_out_in_the_order_that_each_needs() -> None:
    assert [stage.name for stage in STAGES] == [
        "data",
        "finetune",
        "transfer",
        "evaluate",
        "export",
        "verify",
        "package",
    ]


def test_every_stage_is_a_command_and_the_commands_name_them_in_the_same_order() -> None:
    names = {stage.name for stage in STAGES}
    assert [command for command in COMMANDS if command in names] == [stage.name for stage in STAGES]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_stage_is_defined_beside_its_work(stage: Stage) -> None:
    module, _, function = stage.work.partition(":")
    assert module.startswith(f"pipeline.{stage.name}.")
    path = source_path(module)
    assert path is not None
    assert f"\ndef {function}(" in path.read_text()
    assert (path.parent / "definition.py").is_file()


def make_run(folder: Path) -> RunFolder:
    """A run's folder with a file wherever a stage reads one; only its table of samples is real."""
    run = RunFolder(folder)
    write_samples(run, [Sample("a.png", "bars", "train", sha256="0" * 64)])
    weights, card = run.checkpoint / "model.safetensors", run.checkpoint / "checkpoint.json"
    opponents = (run.opponents, run.opponents_answers)
    for path in (run.audit, weights, card, *opponents, run.reference, run.model, run.made, run.receipt):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"before")
    return run


# What does without fine-tuning does not depend on it: the stages after it do.
FOLLOWING = [pair for pair in pairwise(STAGES) if pair != (FINETUNE, TRANSFER)]
FOLLOWING += [(DATA, TRANSFER), (FINETUNE, EVALUATE)]


@pytest.mark.parametrize(("stage", "following"), FOLLOWING, ids=lambda stage: stage.name)
def test_what_a_stage_leaves_is_an_input_of_the_next(stage: Stage, following: Stage, tmp_path: Path) -> None:
    run, weights = make_run(tmp_path / "run"), tmp_path / "weights.safetensors"
    weights.touch()
    recipe = parse_recipe(recipe_document(tmp_path, weights))
    before = following.inputs(recipe, run)
    for path in stage.outputs(run):
        if path == run.samples:
            write_samples(run, [Sample("a.png", "plain", "train", sha256="0" * 64)])
        elif path != run.contents:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"after")
    assert following.inputs(recipe, run) != before
    assert json.dumps(before) != json.dumps(following.inputs(recipe, run))


def test_importing_the_stages_loads_nothing_heavy() -> None:
    code = "import sys, pipeline.run.stages; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
    assert "pydantic" in done.stdout.split()


def test_execute_imports_the_work_and_passes_it_recipe_and_run(tmp_path: Path) -> None:
    nothing = Stage("nothing", "tests.pipeline.run.test_stages:refuse", lambda *_: {}, lambda _: [])
    with pytest.raises(GraftError, match="recipe of run"):
        nothing.execute(ImageRecipe.model_construct(name="recipe"), RunFolder(tmp_path / "run"))


def refuse(recipe: ImageRecipe, run: RunFolder) -> None:
    raise GraftError(f"{recipe.name} of {run.root.name}")
