"""Markers: a stage that is done stays done where an input that it had is not on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.stage import Absent, Inputs, Stage
from pipeline.run.markers import find_out, is_done, write_marker
from tests.conftest import recipe_document

RECIPE = parse_recipe(recipe_document(Path("x"), Path("w")))
GONE = Absent("data.source: /gone does not exist", "Put it back.")


def stage_with(inputs: Inputs) -> Stage:
    return Stage("data", "pipeline.data.stage:prepare_data", lambda *_: inputs, lambda run: [run.samples])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run in which the stage is done with `{"a": 1, "b": "two"}`."""
    run, stage = RunFolder(tmp_path), stage_with({"a": 1, "b": "two"})
    run.samples.parent.mkdir()
    run.samples.write_text("source,label,split\n")
    write_marker(stage, run, find_out(stage, RECIPE, run)[0], 0.5)
    return run


def test_is_done_when_inputs_and_outputs_are_as_they_were(run: RunFolder) -> None:
    assert is_done(stage_with({"b": "two", "a": 1}), RECIPE, run)
    assert not is_done(stage_with({"a": 1, "b": "three"}), RECIPE, run)
    run.samples.write_text("other")
    assert not is_done(stage_with({"a": 1, "b": "two"}), RECIPE, run)


def test_find_out_takes_what_is_absent_from_the_record_and_nothing_else(run: RunFolder) -> None:
    found, done = find_out(stage_with({"a": 1, "b": GONE}), RECIPE, run)
    assert (dict(found.inputs), dict(found.absent), done) == ({"a": 1, "b": "two"}, {"b": GONE}, True)
    assert not is_done(stage_with({"a": 2, "b": GONE}), RECIPE, run)
    with pytest.raises(GraftError, match=r"/gone does not exist\. Put it back\."):
        find_out(stage_with({"a": 1, "c": GONE}), RECIPE, run)


def change_marker(run: RunFolder, **changes: object) -> None:
    marker = run.marker("data")
    document = json.loads(marker.read_text()) | changes
    marker.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def test_a_record_that_was_changed_makes_nothing_done(run: RunFolder) -> None:
    change_marker(run, inputs={"a": 1, "b": "forged"})
    assert not find_out(stage_with({"a": 1, "b": GONE}), RECIPE, run)[1]


def test_a_marker_without_a_record_makes_nothing_done_and_says_what_is_missing(run: RunFolder) -> None:
    change_marker(run, inputs=None)
    assert not is_done(stage_with({"a": 1, "b": "two"}), RECIPE, run)
    with pytest.raises(GraftError, match="/gone does not exist"):
        find_out(stage_with({"a": 1, "b": GONE}), RECIPE, run)
