from __future__ import annotations

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.machine import settings as machine
from pipeline.machine.settings import choose_settings


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
