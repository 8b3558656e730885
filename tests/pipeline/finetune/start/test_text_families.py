"""Odd encoders of texts are refused in one line or pass the trial, as the table of families says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.families.table import read_rows
from benchmarks.families.texts import FAMILIES
from pipeline.errors import GraftError
from pipeline.finetune.stage import open_backbone
from pipeline.finetune.start.half import bf16_fault
from pipeline.machine.settings import Settings, suit_network
from pipeline.modalities.text.training import load_pretrained
from pipeline.recipe.reading import parse_recipe
from tests.conftest import ROOT
from tests.encoders import text_recipe

FP32 = Settings("cpu", "fp32", threads=1, why="test")
BF16 = Settings("cpu", "bf16", threads=1, why="test")
ROWS = {row.family: row for row in read_rows(ROOT / "docs" / "backbones-texts.md")}
# Those that are refused without an export, which takes seconds, and two that pass.
ODD = ["canine", "convbert", "fnet", "funnel", "mamba", "nystromformer", "perceiver", "yoso", "opt", "t5"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def open_family(family: str, folder: Path):
    FAMILIES[family](folder)
    return open_backbone(parse_recipe(text_recipe(Path("t.csv"), folder)), FP32)


def test_the_table_names_exactly_the_families_and_none_fails() -> None:
    assert list(ROWS) == list(FAMILIES)
    assert len(ROWS) >= 40
    assert {row.outcome for row in ROWS.values()} == {"passes", "refused"}
    assert all(row.seconds < 10 and row.reason for row in ROWS.values() if row.outcome == "refused")


@pytest.mark.parametrize("family", ODD)
def test_an_odd_family_does_what_the_table_says(tmp_path: Path, family: str) -> None:
    if ROWS[family].outcome == "passes":
        open_family(family, tmp_path / "encoder")
        assert len(list((tmp_path / "cache" / "tried").iterdir())) == 1
        return
    with pytest.raises(GraftError, match=r"^backbone\.") as refused:
        open_family(family, tmp_path / "encoder")
    reason = str(refused.value).replace(str(tmp_path / "encoder"), family).replace(": tiny ", f": {family} ")
    assert reason.partition(" (by")[0] == ROWS[family].reason.partition(" (by")[0]


def test_a_backbone_that_cannot_be_run_in_bf16_is_trained_in_fp32_unless_bf16_is_asked_for(
    tmp_path: Path,
) -> None:
    FAMILIES["deberta"](tmp_path)
    pretrained = load_pretrained(parse_recipe(text_recipe(Path("t.csv"), tmp_path)))
    assert bf16_fault(pretrained, FP32) is None
    fault = bf16_fault(pretrained, BF16)
    assert fault is not None
    settings = suit_network(BF16, "auto", has_grouped_convolutions=False, bf16_fault=fault)
    assert settings.precision == "fp32"
    assert "cannot be run in bf16" in settings.why
    with pytest.raises(GraftError, match=r"^finetune\.precision: bf16, but .*Set fp32\.$"):
        suit_network(BF16, "bf16", has_grouped_convolutions=False, bf16_fault=fault)
