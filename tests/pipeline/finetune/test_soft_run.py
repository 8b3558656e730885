"""A run on a table with probabilities and weights: data, then finetune, to the checkpoint and its history."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts.checkpoint import read_validation
from pipeline.artifacts.history import read_history
from pipeline.data.stage import prepare_data
from pipeline.files.layout import RunFolder
from pipeline.finetune.definition import FINETUNE
from pipeline.finetune.stage import finetune, start
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.sections import Recipe
from pipeline.tasks.classification import CLASSIFICATION
from tests.encoders import make_encoder, make_texts, text_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and texts whose probabilities of `good` are 0.7 or 0.3, never more."""
    base = tmp_path_factory.mktemp("soft")
    make_encoder(base / "encoder")
    make_texts(base / "plain.csv", 80)
    rows = list(csv.reader((base / "plain.csv").open()))[1:]
    with (base / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "p", "trust"])
        writer.writerows(
            [text, label, 0.7 if label == "good" else 0.3, 1 + n % 2] for n, (text, label) in enumerate(rows)
        )
    return base


def recipe_of(folder: Path, table: dict[str, object], **finetune: object) -> Recipe:
    document = text_recipe(folder / "texts.csv", folder / "encoder")
    document["data"] = {"source": str(folder / "texts.csv"), "table": table}
    document["finetune"] |= {"mode": "features", **finetune}  # type: ignore[operator]
    return parse_recipe(document)


def test_training_on_probabilities_answers_with_them_and_not_with_certainty(
    folder: Path, tmp_path: Path
) -> None:
    sure = {}
    for name, table in (("hard", {}), ("soft", {"probabilities": {"good": "p"}, "weight": "trust"})):
        run, recipe = RunFolder(tmp_path / name), recipe_of(folder, table)
        prepare_data(recipe, run)
        finetune(recipe, run)
        probabilities = CLASSIFICATION.probabilities(read_validation(run.checkpoint).logits)
        sure[name] = float(np.abs(probabilities[:, 0] - 0.5).mean())
        assert "all samples count alike" in read_history(run.checkpoint).balance
    assert sure["soft"] < 0.2 < sure["hard"], "probabilities of 0.7 and 0.3 are 0.2 from even"


def test_finetune_is_redone_when_a_probability_changes(folder: Path, tmp_path: Path) -> None:
    run, recipe = RunFolder(tmp_path / "run"), recipe_of(folder, {"probabilities": {"good": "p"}})
    prepare_data(recipe, run)
    before = FINETUNE.inputs(recipe, run)
    run.samples.write_text(run.samples.read_text().replace("0.7", "0.8").replace("0.3", "0.2"))
    after = FINETUNE.inputs(recipe, run)
    assert {key for key in before if before[key] != after[key]} == {"samples"}


def test_start_reads_probabilities_and_weights_of_a_run(folder: Path, tmp_path: Path) -> None:
    table = {"probabilities": {"good": "p"}, "weight": "trust"}
    run, recipe = RunFolder(tmp_path / "run"), recipe_of(folder, table, mode="lp-ft", sampling="balanced")
    prepare_data(recipe, run)
    started = start(recipe, run)
    train = started.prepared.train
    assert train.soft is not None
    assert train.weights is not None
    assert np.array_equal(
        train.soft[:, 1].round(1), np.where(train.targets == 1, 0.7, 0.3).astype(np.float32)
    )
    assert train.weights.mean() == pytest.approx(1)
    assert set((train.weights / train.weights.min()).round(3)) == {1.0, 2.0}
    assert started.plan.balanced_sampling
    assert started.prepared.balance.head_weights is not None
