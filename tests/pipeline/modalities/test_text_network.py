from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.modalities.text.network import Pooling, TextClassifier, build_encoder, pool
from tests.encoders import _config


@given(st.sampled_from(["mean", "cls", "last"]), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**31))
def test_pool_gives_the_same_whatever_stands_in_the_padding(
    pooling: Pooling, tokens: int, padding: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, tokens, 3, generator=generator)
    padded = torch.cat([states, torch.randn(1, padding, 3, generator=generator) * 1e3], dim=1)
    mask = torch.tensor([[1] * tokens + [0] * padding])
    expected = {"mean": states.mean(dim=1), "cls": states[:, 0], "last": states[:, -1]}[pooling]
    assert torch.allclose(pool(padded, mask, pooling), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert", "gpt2"])
def test_parameter_groups_give_each_layer_its_rate_and_hold_every_parameter_once(kind: str) -> None:
    model = TextClassifier(build_encoder(_config(kind, 100).to_diff_dict()), "mean", 3)
    groups = model.parameter_groups(1e-3, 0.5, 0.1)
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(model.parameters()))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    by_name = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert by_name["head.weight"] == 1e-3
    embeddings = [rate for name, rate in by_name.items() if "embed" in name or "wte" in name or "wpe" in name]
    assert set(embeddings) == {1e-3 / 8}, "embeddings lie under two layers and the head"
    assert sorted(set(by_name.values())) == [1e-3 / 8, 1e-3 / 4, 1e-3 / 2, 1e-3]
    assert all(group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0) for group in groups)


def test_set_head_gives_its_logits() -> None:
    model = TextClassifier(build_encoder(_config("bert", 50).to_diff_dict()), "mean", 2).eval()
    weight, bias = (
        np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32),
        np.arange(4, dtype=np.float32),
    )
    model.set_head(weight, bias)
    feeds = {"input_ids": torch.tensor([[2, 7, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    with torch.inference_mode():
        assert np.allclose(model(**feeds), model.embed(**feeds).numpy() @ weight.T + bias, atol=1e-5)
