"""Searches that are killed, in SQLite: every trial is done exactly once, and the sequence is the same."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pipeline.recipe.reading import load_recipe
from pipeline.search.samplers import pruner_named
from pipeline.search.space import space_of
from pipeline.search.stores import open_store
from pipeline.search.studies import Study
from tests.pipeline.search.places import (
    HEADS,
    Worker,
    ended,
    kill_at_work,
    lines,
    wait_for_lines,
    write_recipe,
)

GRID = {
    "finetune.penalty": {"choices": [0.01, 0.1, 1.0, 10.0]},
    "finetune.logit_adjustment": {"low": 0.0, "high": 1.0, "step": 0.25},
}


def kill_often(recipe: Path, folder: Path, kills: int, seed: int) -> list[list[object]]:
    """A search whose process is killed at random moments; then it is left to end."""
    rng = random.Random(seed)
    for _ in range(kills):
        begun = len(lines(folder))
        worker = Worker(folder, recipe, folder / "run", pause_s=0.05)
        wait_for_lines(folder, begun + 1)  # before a trial is under way there is nothing to lose
        time.sleep(rng.uniform(0, 0.15))
        worker.kill()
    return Worker(folder, recipe, folder / "run").trials()


def test_two_workers_on_one_machine_share_a_search_and_one_takes_over_what_the_other_leaves(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    recipe = write_recipe(tmp_path, pictures, tiny_weights, {"space": HEADS, "trials": 8})
    folder = tmp_path / "workers"
    first, second = (Worker(folder, recipe, tmp_path / "run", pause_s=0.4) for _ in range(2))
    wait_for_lines(folder, 4)
    kill_at_work(first)
    trials = second.trials()
    assert [row[0] for row in trials] == list(range(8))
    assert [row[2] for row in trials].count(2) == 1
    assert len(ended(folder)) == 8
    assert {line[1] for line in lines(folder)} == {first.process.pid, second.process.pid}


@pytest.mark.parametrize(("method", "kills"), [("grid", 4), ("bayesian", 3)])
def test_a_search_that_is_killed_does_every_trial_once_and_in_the_same_sequence(
    method: str, kills: int, tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    search = {"method": method, "space": GRID if method == "grid" else HEADS, "trials": 12, "seed": 3}
    recipe = write_recipe(tmp_path, pictures, tiny_weights, search)
    whole = Worker(tmp_path / "whole", recipe, tmp_path / "whole-run").trials()
    killed = kill_often(recipe, tmp_path / "killed", kills, seed=0)
    assert [row[0] for row in killed] == list(range(12))
    assert max(row[2] for row in killed) > 1, "no kill has hit a trial"
    assert [(row[0], row[1], row[3]) for row in killed] == [(row[0], row[1], row[3]) for row in whole]
    # Only a kill between a trial's end and its note can make it end twice.
    assert len(set(ended(tmp_path / "killed"))) == 12
    if method == "grid":
        assert len({tuple(row[3].values()) for row in killed}) == 12


def test_a_trial_that_all_workers_die_at_is_given_up(
    tmp_path: Path, pictures: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.search.studies.MOST_DEATHS", 3)
    recipe = load_recipe(write_recipe(tmp_path, pictures, tiny_weights, {"space": HEADS}))
    values = []
    for _ in range(4):
        store = open_store(None, tmp_path / "trials.db")
        pruner = pruner_named("none", 2)
        study = Study(store, "deadly", recipe.search, space_of(recipe), 0, pruner, {})
        claim = study.claim(3)
        values.append((claim.place, claim.values))
        store.close()  # as the end of a process does, whatever it was doing
    assert [place for place, _ in values] == [0, 0, 0, 1]
    assert values[0] == values[1] == values[2]
    assert [(row.place, row.state, row.why, row.tries) for row in study.rows()] == [
        (0, "failed", "3 workers died at it", 3)
    ]
