"""Odd encoders of texts are refused in one line or pass the trial, as the table of families says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.families.table import read_rows
from benchmarks.families.texts import FAMILIES
from pipeline.errors import GraftError
from pipeline.finetune.stage import open_backbone
from pipeline.machine.settings import Settings
from pipeline.recipe.reading import parse_recipe
from tests.conftest import ROOT
from tests.encoders import text_recipe

FP32 = Settings("cpu", "fp32", threads=1, why="test")
BF16 = Settings("cpu", "bf16", threads=1, why="test")
ROWS = {row.family: row for row in read_rows(ROOT / "docs" / "backbones-texts.md")}
ODD = ["bart", "canine", "convbert", "fnet", "mamba", "opt", "perceiver", "squeezebert", "t5", "xlnet"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def open_family(family: str, folder: Path, settings: Settings = FP32, **finetune: object):
    FAMILIES[family](folder)
    recipe = parse_recipe(text_recipe(Path("t.csv"), folder, finetune=finetune))
    return open_backbone(recipe, settings)


def test_the_table_names_exactly_the_families_and_none_fails() -> None:
    assert list(ROWS) == list(FAMILIES)
    assert len(ROWS) >= 40
    assert {row.outcome for row in ROWS.values()} == {"passes", "refused"}
    assert all(row.seconds < 10 and row.reason for row in ROWS.values() if row.outcome == "refused")


@pytest.mark.parametrize("family", ODD)
def test_an_odd_family_does_what_the_table_says(tmp_path: Path, family: str) -> None:
    if ROWS[family].outcome == "passes":
        extractor = open_family(family, tmp_path / "encoder")
        assert (extractor.cache.parent.parent / "tried").is_dir()
        return
    with pytest.raises(GraftError, match=r"^backbone\.") as refused:
        open_family(family, tmp_path / "encoder")
    assert (
        str(refused.value).split("(by")[0].replace(str(tmp_path / "encoder"), family)[:60]
        in ROWS[family].reason
    )


def test_a_backbone_that_cannot_be_run_in_bf16_is_trained_in_fp32_unless_bf16_is_asked_for(
    tmp_path: Path,
) -> None:
    extractor = open_family("deberta", tmp_path / "encoder", BF16)
    assert extractor.settings.precision == "fp32"
    assert "cannot be run in bf16" in extractor.settings.why
    with pytest.raises(GraftError, match=r"^finetune\.precision: bf16, but .*Set fp32\.$"):
        open_family("deberta", tmp_path / "encoder", BF16, precision="bf16")
