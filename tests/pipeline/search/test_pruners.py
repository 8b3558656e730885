"""Trials that fall behind are ended, and the same ones where the search is cut off and goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifacts.history import Epoch
from pipeline.recipe.sections import Recipe
from pipeline.run.runner import open_run, run_stage
from pipeline.search.bench import Bench, Result, Score
from pipeline.search.search import Changes, search
from tests.pipeline.search.places import write_recipe

SPACE = {
    "finetune.learning_rate": {"low": 1e-5, "high": 0.1, "log": True},
    "finetune.label_smoothing": {"low": 0.0, "high": 0.5},
}
EPOCHS = 9


def train_in_name_only(breaks: Callable[[], bool]) -> Callable[..., Result]:
    """What stands for a training: its loss falls from epoch to epoch, and is lower for a rate near 0.003."""

    def carry_out(
        self: Bench, recipe: Recipe, watch: Callable[[Epoch], None], held_out: None = None
    ) -> Result:
        rate, smoothing = recipe.finetune.learning_rate, recipe.finetune.label_smoothing
        assert rate is not None
        for epoch in range(1, EPOCHS + 1):
            loss = abs(rate - 0.003) + smoothing + 1 / epoch
            watch(
                Epoch(epoch=epoch, train_loss=1, validation_loss=loss, validation_accuracy=0, samples_per_s=1)
            )
            if breaks():
                raise KeyboardInterrupt
        return Result(Score(loss, 0.0, 0.0))

    return carry_out


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_a_search_that_is_cut_off_in_its_trials_goes_on_as_if_it_had_not_been(
    pruner: str, tmp_path: Path, pictures: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"space": SPACE, "pruner": pruner, "trials": 12, "seed": 2}
    recipe = write_recipe(tmp_path, pictures, tiny_weights, section, mode="full", epochs=EPOCHS)
    runs = [tmp_path / name for name in ("whole", "parts")]
    for run in runs:
        run_stage("data", open_run(recipe, run))
    monkeypatch.setattr("pipeline.search.page.write_page", lambda *_: None)
    monkeypatch.setattr(Bench, "carry_out", train_in_name_only(lambda: False))
    whole = search(recipe, runs[0], None, Changes())
    told = 0

    def breaks() -> bool:
        nonlocal told
        told += 1
        return told % 11 == 0

    monkeypatch.setattr(Bench, "carry_out", train_in_name_only(breaks))
    parts, cuts = None, 0
    while parts is None:
        try:
            parts = search(recipe, runs[1], None, Changes())
        except KeyboardInterrupt:
            cuts += 1
    assert cuts > 1
    rows = [[replace(row, seconds=0, tries=1) for row in found.trials] for found in (whole, parts)]
    assert rows[0] == rows[1]
    assert sum(row.tries - 1 for row in parts.trials) == cuts
    states = [row.state for row in whole.trials]
    assert {"done", "behind"} == set(states)
    epochs = {row.epochs for row in whole.trials if row.state == "behind"}
    assert epochs <= {1, 3, 9}, "the rungs"
    assert whole.best.state == "done"
    assert f"({states.count('behind')} ended early)" in whole.to_text()
