"""One family of text encoders, from a small folder with random weights to a receipt, as a row of a table."""

from __future__ import annotations

import csv
import json
import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.families.row import Row
from benchmarks.families.texts import WORDS
from pipeline.errors import GraftError
from pipeline.modalities.text.recipe import TextBackbone

TEXTS = 80
STAGES = ("data", "finetune", "transfer", "evaluate", "export", "verify")


def row_of(family: str, write: Callable[[Path], TextBackbone], folder: Path) -> Row:
    """Run a family's encoder through all stages in an empty folder, and return what became of it."""
    import yaml

    from pipeline.files.layout import RunFolder
    from pipeline.run.runner import open_run, run_stage

    backbone = write(folder / "encoder")
    recipe = recipe_of(backbone, write_texts(folder / "texts.csv"))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    begun = time.process_time()  # on a busy machine the clock would measure the others
    stage = ""
    try:
        run = open_run(folder / "recipe.yaml", folder / "run")
        for stage in STAGES:
            run_stage(stage, run)
        passed = json.loads(RunFolder(folder / "run").receipt.read_text())["passed"] is True
    except GraftError as error:
        reason = str(error).replace(str(folder / "encoder"), family)
        refused = stage in {"data", "finetune"} and reason.startswith(("backbone", "text."))
        outcome = "refused" if refused and "\n" not in reason else "fails"
        return Row(family, outcome, time.process_time() - begun, reason)
    except Exception:
        return Row(family, "fails", time.process_time() - begun, f"{stage}: {traceback.format_exc()}")
    seconds = time.process_time() - begun
    return (
        Row(family, "passes", seconds)
        if passed
        else Row(family, "fails", seconds, "its receipt does not hold")
    )


def recipe_of(backbone: TextBackbone, texts: Path) -> dict[str, object]:
    """Return a short recipe."""
    return {
        "name": "family",
        "modality": "text",
        "data": {"source": str(texts)},
        "backbone": backbone.model_dump(mode="json"),
        "text": {"max_tokens": 24, "max_characters": 400},
        "finetune": {"mode": "full", "epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "device": "cpu"},
        "evaluate": {"bootstrap": 100, "ship_negative_transfer": True, "ship_guessing": True},
        "export": {"formats": ["onnx-fp32"]},
    }


def write_texts(path: Path) -> Path:
    """Write a table of texts of 2 to 18 words, whose label is whether they hold `good` or `bad`."""
    chance = random.Random(0)
    others = [word for word in WORDS if word not in {"good", "bad"}]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(TEXTS):
            label = ("good", "bad")[index % 2]
            words = [*chance.choices(others, k=chance.randrange(2, 18)), label]
            chance.shuffle(words)
            writer.writerow([" ".join(words), label])
    return path
