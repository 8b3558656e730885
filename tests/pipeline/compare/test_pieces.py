"""The finished pieces on disk, and what they depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.compare.pieces import Pieces, key_of, key_of_data, without_training
from pipeline.compare.records import Cost
from pipeline.compare.tuning import epochs_of, with_epochs
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe

MODULE = "pipeline.compare.cost"


def cost(ms: float) -> Cost:
    return Cost(ms=ms, low_ms=ms, high_ms=ms, runs=1, parameters=1, onnx_bytes=1, cpu="a CPU")


def test_a_piece_is_made_once_and_anew_where_it_is_damaged(tmp_path: Path) -> None:
    pieces = Pieces(RunFolder(tmp_path))
    assert pieces.get(Cost, "k", lambda: cost(1.0)).ms == 1.0
    assert pieces.get(Cost, "k", lambda: cost(2.0)).ms == 1.0
    assert pieces.get(Cost, "other", lambda: cost(2.0)).ms == 2.0
    (pieces.folder / "cost-k.json").write_text('{"schema_version": 1, "ms"')
    assert pieces.get(Cost, "k", lambda: cost(3.0)).ms == 3.0


def test_keys_change_with_what_a_piece_depends_on_and_nothing_else(tiny_run: Path, tmp_path: Path) -> None:
    recipe, run = load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run)
    key = key_of(MODULE, without_training(recipe), run)
    longer = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"epochs": 9})})
    assert key_of(MODULE, without_training(longer), run) == key
    assert key_of(MODULE, longer, run) != key_of(MODULE, recipe, run)
    image = recipe.image.model_copy(update={"size": 96})
    assert key_of(MODULE, without_training(recipe.model_copy(update={"image": image})), run) != key
    assert key_of("pipeline.compare.probe", without_training(recipe), run) != key
    assert key_of(MODULE, without_training(recipe), run, sizes=[1]) != key
    weights = Path(recipe.backbone.weights)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    backbone = recipe.backbone.model_copy(update={"weights": str(moved)})
    elsewhere = without_training(recipe.model_copy(update={"backbone": backbone}))
    assert key_of(MODULE, elsewhere, run) == key
    moved.write_bytes(weights.read_bytes() + b" ")
    assert key_of(MODULE, elsewhere, run) != key
    of_data = key_of_data("pipeline.compare.classic", recipe, run)
    moved.unlink()
    with pytest.raises(GraftError, match="does not exist"):
        key_of(MODULE, elsewhere, run)
    assert key_of_data("pipeline.compare.classic", elsewhere, run) == of_data


def test_short_trainings_are_shares_of_the_whole_one(tiny_run: Path) -> None:
    recipe = load_recipe(tiny_run / "recipe.yaml")
    twelve = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"epochs": 12})})
    assert epochs_of(twelve, 100, 0.25) == 3
    assert epochs_of(recipe, 100, 0.25) == 1
    auto = twelve.model_copy(update={"finetune": twelve.finetune.model_copy(update={"mode": "auto"})})
    assert with_epochs(auto, 3).finetune.mode == "lp-ft"
    assert with_epochs(auto, 3).finetune.epochs == 3
    plateau = twelve.finetune.model_copy(update={"schedule": "plateau"})
    assert with_epochs(twelve.model_copy(update={"finetune": plateau}), 1).finetune.schedule == "cosine"
