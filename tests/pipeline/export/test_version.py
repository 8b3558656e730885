"""A version is that of the model: what else is installed beside it changes neither it nor the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.artifacts.candidates import read_candidates
from pipeline.export import stage
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe

pytestmark = pytest.mark.slow


def test_another_environment_gives_the_same_version_and_file(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    before, content = read_candidates(run.made), run.model.read_bytes()
    others = dict(before.lineage.versions) | {"transformers": "99.0", "bentoml": "99.0"}
    monkeypatch.setattr(stage, "installed_versions", lambda: others)
    export(load_recipe(run.recipe), run)
    after = read_candidates(run.made)
    assert after.lineage.versions == others, "they stand beside it"
    assert after.version == before.version
    assert run.model.read_bytes() == content


def test_what_transformers_notes_of_itself_is_no_part_of_a_version() -> None:
    config = {"model_type": "bert", "transformers_version": "5.10", "layers": {"dtype": "float32", "size": 3}}
    assert stage._decisive({"config": config}) == {"config": {"model_type": "bert", "layers": {"size": 3}}}
    assert json.dumps(stage._decisive(config)) != json.dumps(config)
