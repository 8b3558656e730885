"""Pictures whose classes are the sides that they point to, through the commands of a user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.data.draft.look import Wishes
from pipeline.data.draft.recipe import write_recipe
from tests.conftest import SIZE_PX, recipe_document
from tests.leftovers import ROOT

pytestmark = pytest.mark.slow
PER_LABEL = 40


def write_ramps(root: Path, left: str, right: str) -> None:
    """Write noisy ramps that get brighter and fall back at once, again and again, to either side."""
    rng = np.random.default_rng(0)
    for label, step in ((left, -1), (right, 1)):
        (root / label).mkdir(parents=True)
        for index in range(PER_LABEL):
            ramp = (step * np.arange(SIZE_PX) + rng.integers(0, 16)) % 16 * 9 + 40
            pixels = ramp[None, :, None] + rng.normal(0, 6, (SIZE_PX, SIZE_PX, 3))
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(root / label / f"{index}.png")


def run_stages(recipe: Path, run: Path) -> None:
    """Run three commands one after the other, in one process that imports torch once."""
    lines = ["from pipeline.cli.main import main"]
    for stage in ("data", "finetune", "transfer", "evaluate"):
        arguments = [stage, str(recipe), "--run", str(run)]
        lines.append(f"main({arguments!r}, standalone_mode=False)")
    command = [sys.executable, "-c", "\n".join(lines)]
    subprocess.run(command, check=True, capture_output=True, timeout=600, cwd=ROOT)


def test_a_run_on_sides_reaches_one_under_names_that_say_nothing(tiny_weights: Path, tmp_path: Path) -> None:
    write_ramps(tmp_path / "sides", "a", "b")
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    document = recipe_document(tmp_path / "sides", tiny_weights)
    document["finetune"] = {"mode": "lp-ft", "epochs": 2, "learning_rate": 0.001, "device": "cpu"}
    recipe.write_text(yaml.safe_dump(document))
    run_stages(recipe, run)
    history = json.loads((run / "checkpoint" / "history.json").read_text())
    assert "auto leaves out mirroring left to right, since the way round alone tells" in history["remarks"][0]
    assert history["epochs"][-1]["validation_accuracy"] == 1.0
    assert json.loads((run / "evaluate" / "metrics.json").read_text())["accuracy"] == 1.0
    assert "auto leaves out mirroring left to right" in (run / "evaluate" / "report.html").read_text()


@pytest.mark.parametrize("labels", [("left", "right"), ("a", "b")])
def test_init_writes_into_the_recipe_why_sides_are_not_mirrored(
    labels: tuple[str, str], tmp_path: Path
) -> None:
    write_ramps(tmp_path / "sides", *labels)
    recipe = tmp_path / "recipe.yaml"
    found = write_recipe(str(tmp_path / "sides"), recipe, Wishes(), force=False)
    warning = "pictures are not mirrored in training, since the labels 'left' and 'right' name sides"
    assert (warning in found.to_text()) == (warning in recipe.read_text()) == (labels[0] == "left")
    assert yaml.safe_load(recipe.read_text())["finetune"]["augment"]["horizontal_flip"] == "auto"
