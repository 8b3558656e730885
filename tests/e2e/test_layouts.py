"""From data as people have them to an answer: the recipe that `graft init` writes, untouched, and predict."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from tests.conftest import TINY, run_graft

pytestmark = pytest.mark.slow


def write_drawing(path: Path, label: str, index: int) -> None:
    """A drawing that is in the alpha channel alone: a wide mark or a thin one, black on transparent black."""
    width = 40 if label == "wide" else 4
    alpha = np.zeros((64, 64), np.uint8)
    alpha[8:56, 6 + index % 12 : 6 + index % 12 + width] = 255 - index % 7
    pixels = np.dstack([np.zeros((64, 64, 3), np.uint8), alpha])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, "RGBA").save(path)


def make_split_folders(folder: Path) -> Path:
    for split, count in (("train", 24), ("valid", 8), ("test", 8)):
        for label in ("thin", "wide"):
            for index in range(count):
                shift = {"train": 0, "valid": 24, "test": 32}[split]
                write_drawing(folder / split / label / f"{index}.png", label, index + shift)
    (folder / "train" / "Thumbs.db").write_bytes(b"no picture")
    return folder


def make_table(folder: Path) -> Path:
    """Names without suffix, in a folder of their own, as competitions publish them."""
    rows = [(f"{label}{index}", label) for index in range(40) for label in ("thin", "wide")]
    for name, label in rows:
        write_drawing(folder / "pictures" / f"{name}.png", label, int(name[4:]))
    (folder / "labels.csv").write_text("id,breed\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return folder


def test_init_untouched_leads_to_an_answer(tiny_weights: Path, tmp_path: Path) -> None:
    """But for the time that the same network may train from random weights, which says nothing of layouts."""
    source = make_table(tmp_path / "data")
    said = ("--backbone", TINY, "--weights", tiny_weights, "--output", tmp_path / "recipe.yaml")
    run_graft("init", source, *said)
    recipe = tmp_path / "recipe.yaml"
    assert "scratch_seconds: 20 " in recipe.read_text()
    recipe.write_text(recipe.read_text().replace("scratch_seconds: 20 ", "scratch_seconds: 1 "))
    run_graft("run", tmp_path / "recipe.yaml", "--run", tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "evaluate" / "metrics.json").read_text())
    assert metrics["guessing"]["verdict"] == "better"
    write_drawing(tmp_path / "new.png", "wide", 3)
    answer = json.loads(run_graft("predict", tmp_path / "run", tmp_path / "new.png", "--json").stdout)
    assert answer[0]["label"] == "wide"


def test_init_takes_folders_of_splits_as_they_are(tiny_weights: Path, tmp_path: Path) -> None:
    """As far as training goes; from there on all data are alike."""
    source = make_split_folders(tmp_path / "data")
    said = ("--backbone", TINY, "--weights", tiny_weights, "--output", tmp_path / "recipe.yaml")
    run_graft("init", source, *said)
    run_graft("data", tmp_path / "recipe.yaml", "--run", tmp_path / "run")
    samples = read_samples(RunFolder(tmp_path / "run"))
    assert Counter(sample.split for sample in samples) == {"train": 48, "validation": 16, "test": 16}
    assert all(Path(sample.source).parts[0][:3] == sample.split[:3] for sample in samples)
