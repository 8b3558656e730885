from __future__ import annotations

import logging

import pytest
import torch

from pipeline.modalities.wrapped import tensors_within

PLAIN, AVERAGE = (
    {"a.weight": torch.zeros(2), "b": torch.zeros(1)},
    {"a.weight": torch.ones(2), "b": torch.ones(1)},
)


@pytest.mark.parametrize("key", ["ema", "model_ema", "state_dict_ema"])
def test_an_average_that_is_whole_is_taken_and_that_is_said(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "graft"):
        taken = tensors_within({"model": PLAIN, key: AVERAGE, "epoch": 3})
    assert torch.equal(taken["a.weight"], AVERAGE["a.weight"])
    assert f"averaged tensors of `{key}` are taken, not those of `model`" in caplog.text


def test_an_average_of_some_tensors_alone_is_not_taken() -> None:
    taken = tensors_within({"state_dict": PLAIN, "ema": {"a.weight": torch.ones(2)}})
    assert taken.keys() == PLAIN.keys()
    assert torch.equal(taken["a.weight"], PLAIN["a.weight"])


def test_mappings_within_others_become_names_with_dots_and_what_holds_no_tensors_is_empty() -> None:
    assert tensors_within({"model": {"state_dict": {"net": PLAIN}}}).keys() == {"net.a.weight", "net.b"}
    assert tensors_within([torch.zeros(1)]) == {}
    assert tensors_within({"epoch": 3}) == {}
