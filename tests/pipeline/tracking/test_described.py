"""What trackers show of a run: every choice that it is made with, as it is written out, and no password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.recipe.data import Section
from pipeline.recipe.reading import parse_recipe
from pipeline.tracking.described import Described, describe
from pipeline.tracking.tracker import first_line
from tests.conftest import recipe_document

PASSWORD = "s3cret-word"


def described(**sections: object) -> Described:
    recipe = parse_recipe(recipe_document(Path("x"), Path("w"), **sections))
    return describe(recipe, RunFolder(Path("run")))


def test_the_search_and_its_password_are_no_part_of_it() -> None:
    plain = described()
    searched = described(search={"storage": f"postgresql://me:{PASSWORD}@host/trials", "trials": 7})
    assert searched == plain
    assert not any(key.startswith(("search", "tracking")) for key in plain.choices)


def test_choices_are_those_of_the_recipe_as_it_is_written_out() -> None:
    choices = described(evaluate={"bootstrap": 100, "require": {"accuracy": 0.5}}).choices
    assert choices["evaluate.bootstrap"] == 100
    assert json.loads(str(choices["evaluate.require"])) == {"accuracy": 0.5}
    assert choices["data.labels.on_twins"] == "refuse"
    assert choices["finetune.penalty"] == "null"


def test_what_a_section_leaves_out_of_its_copies_is_not_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """A serializer counts, wherever it stands."""
    dump = Section.model_dump

    def changed(self: Section, **options: object) -> dict[str, object]:
        document = dump(self, **options)  # type: ignore[arg-type]
        document["data"]["source"] = "left out"
        return document

    monkeypatch.setattr(Section, "model_dump", changed)
    assert described().choices["data.source"] == "left out"


def test_a_password_is_taken_out_of_an_error_before_it_is_cut() -> None:
    error = GraftError(f"{'x' * 150} postgresql://me:{PASSWORD}{'y' * 40}@host/db is not there")
    assert PASSWORD not in first_line(error)
