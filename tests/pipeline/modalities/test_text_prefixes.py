"""Of the tensors in a file those of one encoder are taken, whatever prefix they have; two are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.weights import strip_prefix

NAMES = ("embeddings.weight", "layer.0.weight", "layer.0.bias", "pooler.weight")
Tensors = dict[str, torch.Tensor]


def encoder(prefix: str, value: float, *lacking: str) -> Tensors:
    return {f"{prefix}{name}": torch.full((2,), value) for name in NAMES if name not in lacking}


def strip(tensors: Tensors) -> Tensors:
    return strip_prefix(tensors, NAMES, Path("FOLDER"))


@pytest.mark.parametrize("prefix", ["", "bert.", "module._orig_mod.model.bert.", "a.b.c.d.e.f.", "layer.0."])
def test_strip_prefix_takes_off_any_prefix_and_leaves_a_head_out(prefix: str) -> None:
    head = {} if not prefix else {"classifier.weight": torch.ones(2)}
    assert strip(encoder(prefix, 1) | head).keys() == set(NAMES)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("student.", "teacher.", r"`student\.\*` and `teacher\.\*`"),
        ("query_encoder.bert.", "passage.", r"`passage\.\*` and `query_encoder\.bert\.\*`"),
        ("", "teacher.", r"one without a prefix and `teacher\.\*`"),
        ("model.", "model.ema.", r"`model\.\*` and `model\.ema\.\*`"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_strip_prefix_refuses_two_encoders(first: str, second: str, words: str, *, turned: bool) -> None:
    both = [encoder(first, 1), encoder(second, 2)]
    with pytest.raises(GraftError, match=f"FOLDER holds more than one encoder: {words}"):
        strip(both[turned] | both[not turned])


def test_strip_prefix_refuses_a_second_encoder_that_lacks_only_the_pooler() -> None:
    with pytest.raises(GraftError, match=r"`b\.\*` and `a\.\*`"):
        strip(encoder("a.", 1, "pooler.weight") | encoder("b.", 2))


def test_strip_prefix_takes_the_whole_encoder_beside_a_part_of_another() -> None:
    stripped = strip(encoder("a.", 1, "embeddings.weight") | encoder("b.", 2))
    assert stripped.keys() == set(NAMES)
    assert all(float(value[0]) == 2 for value in stripped.values())


def test_strip_prefix_takes_an_encoder_that_was_stored_twice() -> None:
    assert strip(encoder("a.", 1) | encoder("b.", 1)).keys() == set(NAMES)


def test_strip_prefix_refuses_an_encoder_stored_in_two_types() -> None:
    half = {name: value.half() for name, value in encoder("b.", 1).items()}
    with pytest.raises(GraftError, match="more than one encoder"):
        strip(encoder("a.", 1) | half)
