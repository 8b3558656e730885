"""The solar cells by a recipe of the examples: the mean over seeds, also with splits along the file.

Cells of one module look alike, and which are of one module is not shipped, but the file's order follows the
44 modules. So a second figure keeps blocks of 60 neighbours, about a module, in one split.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from finetuning.commands import ROOT
from finetuning.pictures import CELLS
from finetuning.runs import Workplace, answer_test, changed

RECIPE = ROOT / "examples" / "solar-cells" / "best.yaml"
BLOCK = 60


def measure_recipe(
    place: Workplace, recipe: Path, seed: int, changes: Sequence[str] = (), name: str = "as it stands"
) -> dict[str, Any]:
    """Carry out a recipe as far as its checkpoint, and return its figures on the test split.

    Args:
        place: Where to work.
        recipe: The recipe.
        seed: Its seed, which fixes splits, order and augmentation.
        changes: Lines such as ``finetune.epochs: 1``.
        name: What the changes make of it, for people.
    """
    from pipeline.artifacts.history import read_history
    from pipeline.run.runner import open_run, run_stage

    stem = f"{recipe.parent.name}-{recipe.stem}-{name.replace(' ', '-')}-{seed}"
    path = place.folder / "recipes" / f"{stem}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(changed(recipe.read_text(), [f"seed: {seed}", *changes]))
    run = open_run(path, place.folder / "runs" / stem)
    results = [run_stage(stage, run) for stage in ("data", "finetune")]
    answered = answer_test(run)
    history = read_history(run.folder.checkpoint)
    return {
        "set": f"{recipe.parent.name}/{recipe.stem}, {name}",
        "seed": seed,
        "test": len(answered.targets),
        "accuracy": answered.accuracy,
        "macro F1": answered.macro_f1,
        "why": history.trained.why,
        "kept": history.kept,
        "seconds": round(results[-1].seconds, 1),
    }


def along_the_file(place: Workplace) -> list[str]:
    """Return the changes that keep neighbours in the file in one split; the table for it is written."""
    table = place.packages.find("elpv_dataset/data/labels.csv", CELLS)
    folder = place.folder / "sets" / "cells-in-blocks"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [line.split() for line in table.read_text().splitlines()]
    lines = [" ".join([*row, f"block-{index // BLOCK:02d}"]) for index, row in enumerate(rows)]
    target = folder / "labels.csv"
    partial = target.with_name(f".labels-{id(lines)}.csv")
    partial.write_text("\n".join(lines) + "\n")
    shutil.move(partial, target)
    return [
        f"data.source: {target.absolute()}",
        f"data.root: {table.parent.absolute()}",
        "data.table.columns: [path, probability, type, block]",
        "data.group_by: block",
    ]


def print_figures(place: Workplace, seeds: Sequence[int], changes: Sequence[str]) -> None:
    """Print the mean figures of the recipe with random splits and with splits along the file.

    Args:
        place: Where to work.
        seeds: The seeds.
        changes: Lines such as ``finetune.epochs: 1``.
    """
    print("| solar cells, splits | seeds | test | accuracy | macro F1 |\n| --- | ---: | ---: | ---: | ---: |")
    for name, more in (("random", []), ("along the file", along_the_file(place))):
        rows = [measure_recipe(place, RECIPE, seed, [*changes, *more], name) for seed in seeds]
        print(f"| {name} | {len(rows)} | {rows[0]['test']} | {_mean(rows, 'accuracy')}", end=" | ")
        print(f"{_mean(rows, 'macro F1')} |", flush=True)


def _mean(rows: Sequence[dict[str, Any]], figure: str) -> str:
    values = [row[figure] for row in rows]
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{error}"
