"""A run that an earlier version has made is opened, and one message says what to do with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.measures.records import read_metrics
from pipeline.run.runner import done_stages, open_run, run_stage


@pytest.fixture
def earlier(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """The finished run with the recipe and the metrics as they were written before the stage `transfer`."""
    run = RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))
    recipe = yaml.safe_load(run.recipe.read_text())
    for section in ("transfer", "search", "tracking"):
        del recipe[section]
    recipe["evaluate"]["ship_below_baseline"] = recipe["evaluate"].pop("ship_negative_transfer")
    run.recipe.write_text(yaml.safe_dump(recipe))
    metrics = json.loads(run.metrics.read_text())
    del metrics["transfer"]
    run.metrics.write_text(json.dumps(metrics | {"schema_version": 2, "baseline": None}))
    return run


def test_a_run_of_an_earlier_version_is_opened_and_says_what_is_to_be_done_again(earlier: RunFolder) -> None:
    run = open_run(earlier.root, None)
    assert "evaluate" not in done_stages(run)
    with pytest.raises(GraftError) as refused:
        run_stage("verify", run)
    assert str(refused.value).startswith(f"{earlier.root}: `")
    assert str(refused.value).endswith(
        "` is not done or outdated, and `verify` needs it. "
        f"Carry out all of it with: graft run {earlier.root}"
    )


def test_metrics_of_an_earlier_version_name_the_command_that_makes_them_anew(earlier: RunFolder) -> None:
    with pytest.raises(GraftError) as refused:
        read_metrics(earlier.metrics)
    assert str(refused.value) == (
        f"{earlier.metrics}: was written by another version of Graft. "
        "Evaluate again: graft evaluate RUN --force"
    )
