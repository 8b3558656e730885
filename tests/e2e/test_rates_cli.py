"""``graft rates`` as a user runs it, and a training with all that may be kept of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts.history import read_history
from pipeline.run.runner import done_stages, open_run, run_stage
from tests.conftest import run_graft

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "tiny")


def test_rates_leaves_a_plot_and_a_suggestion_and_the_run_as_it_was(copied: Path) -> None:
    before = done_stages(open_run(copied))
    found = json.loads(run_graft("rates", copied, "--json").stdout)
    assert found["suggested"] is None or found["suggested"] in found["rates"]
    assert len(found["losses"]) == len(found["smoothed"]) == len(found["rates"])
    assert Path(found["plot"]).read_bytes().startswith(b"\x89PNG")
    assert json.loads((copied / "rates" / "rates.json").read_text())["losses"] == found["losses"]
    assert done_stages(open_run(copied)) == before != frozenset()


def test_finetune_keeps_an_average_of_epochs_and_says_what_several_views_are_worth(copied: Path) -> None:
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text())
    recipe["finetune"] |= {
        "mode": "lp-ft", "epochs": 4, "ema": True, "soup": 3, "patience": 3, "schedule": "plateau",
        "clip_norm": 1.0, "distill": "symmetries",
    }  # fmt: skip
    (copied / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_stage("finetune", open_run(copied))
    history = read_history(copied / "checkpoint")
    assert history.views is not None
    assert history.views.views == "the eight symmetries of each picture"
    assert history.views.gain.low <= history.views.gain.nats <= history.views.gain.high
    assert history.views.taught == history.kept.endswith("taught by the eight symmetries of each picture")
    assert history.best_epoch in {epoch.epoch for epoch in history.epochs}
