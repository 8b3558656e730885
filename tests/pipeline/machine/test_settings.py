from __future__ import annotations

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.machine import settings as machine
from pipeline.machine.settings import PrecisionChoice, Settings, choose_settings, suit_network


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


@pytest.mark.parametrize(
    ("flags", "asked", "precision", "reason"),
    [
        (set(), "auto", "fp32", "no matrix units"),
        ({"avx512_bf16"}, "auto", "fp32", "no matrix units"),
        ({"amx_bf16"}, "auto", "bf16", "has matrix units"),
        ({"amx_bf16"}, "fp32", "fp32", "recipe"),
        (set(), "bf16", "bf16", "recipe"),
    ],
)
def test_choose_settings_follows_the_cpu_unless_the_recipe_decides(
    cpu_only: pytest.MonkeyPatch, flags: set[str], asked: str, precision: str, reason: str
) -> None:
    cpu_only.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    chosen = choose_settings(precision=asked)
    assert (chosen.device, chosen.precision) == ("cpu", precision)
    assert reason in chosen.why


def test_choose_settings_refuses_when_cuda_is_asked_for_and_missing(cpu_only: pytest.MonkeyPatch) -> None:
    with pytest.raises(GraftError, match=r"finetune\.device: cuda"):
        choose_settings(device="cuda")


@pytest.mark.parametrize(
    ("settings", "asked", "grouped", "precision"),
    [
        (Settings("cpu", "bf16", 2, "AMX"), "auto", True, "fp32"),
        (Settings("cpu", "bf16", 2, "AMX"), "auto", False, "bf16"),
        (Settings("cpu", "bf16", 2, "asked"), "bf16", True, "bf16"),
        (Settings("cpu", "fp32", 2, "no AMX"), "auto", True, "fp32"),
        (Settings("cuda", "bf16", 2, "cores"), "auto", True, "bf16"),
    ],
)
def test_grouped_convolutions_train_in_fp32_on_a_cpu_unless_the_recipe_says_otherwise(
    settings: Settings, asked: PrecisionChoice, precision: str, *, grouped: bool
) -> None:
    assert suit_network(settings, asked, has_grouped_convolutions=grouped).precision == precision
