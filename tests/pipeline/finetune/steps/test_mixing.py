from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.steps.mixing import boxes, mix
from tests.chance import global_chance

seeds = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def named_pictures(count: int) -> torch.Tensor:
    """Pictures of 16 x 12 pixels, each of one colour, which is its number; so a mixture tells its parts."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 16, 12, 3).clone()


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 9), st.floats(0.05, 4))
def test_mixup_averages_pictures_and_targets_by_one_share(seed: int, count: int, strength: float) -> None:
    pictures, targets = named_pictures(count), torch.eye(count)
    batch, mixed = mix({"image": pictures}, targets, strength, 0.0, generator(seed))
    colours = batch["image"][:, 0, 0, 0]
    assert torch.allclose(mixed.sum(dim=1), torch.ones(count), atol=1e-6)
    assert torch.allclose(colours, mixed @ torch.arange(count, dtype=torch.float32), atol=1e-4)
    assert ((mixed > 0).sum(dim=1) <= 2).all(), "of two samples at most"


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 9), st.floats(0.05, 4))
def test_cutmix_gives_each_target_the_share_of_its_pixels(seed: int, count: int, strength: float) -> None:
    pictures, targets = named_pictures(count), torch.eye(count)
    batch, mixed = mix({"image": pictures}, targets, 0.0, strength, generator(seed))
    assert batch["image"].dtype == torch.uint8
    for picture, target in zip(batch["image"], mixed, strict=True):
        shares = torch.bincount(picture.flatten().long(), minlength=count) / picture.numel()
        assert torch.allclose(target, shares, atol=1e-6)


@given(seeds)
def test_boxes_lie_in_the_picture_and_cover_the_asked_share_at_most(seed: int) -> None:
    draws = np.random.default_rng(seed)
    shares = draws.random(8)
    for share, (top, bottom, left, right) in zip(shares, boxes(shares, 32, 24, draws), strict=True):
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 24
        side = np.sqrt(1 - share)
        assert bottom - top <= side * 32 + 1
        assert right - left <= side * 24 + 1


def test_boxes_cover_what_is_asked_for_where_nothing_is_cut_off() -> None:
    sizes = [boxes(np.array([0.75]), 100, 100, np.random.default_rng(seed))[0] for seed in range(60)]
    whole = [
        (bottom - top, right - left)
        for top, bottom, left, right in sizes
        if min(top, left) > 0 and max(bottom, right) < 100
    ]
    assert whole
    assert all(abs(side - 50) <= 1 for sides in whole for side in sides)


@pytest.mark.parametrize("strengths", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mix_repeats_itself_by_its_generator_alone(strengths: tuple[float, float]) -> None:
    start = {"image": named_pictures(8)}, torch.eye(8)
    with global_chance() as untouched:
        results = [mix(*start, *strengths, generator(seed)) for seed in (1, 1, 2)]
        assert untouched()
    (first, target), (again, same), (_, other) = results
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(target, same)
    assert not torch.equal(target, other)


def test_mix_takes_both_ways_when_both_are_asked_for() -> None:
    kinds = {
        mix({"image": named_pictures(4)}, torch.eye(4), 1.0, 1.0, generator(seed))[0]["image"].dtype
        for seed in range(12)
    }
    assert kinds == {torch.uint8, torch.float32}


@pytest.mark.parametrize("strengths", [(0.4, 0.0), (0.0, 1.0)])
def test_mix_leaves_targets_as_they_are_when_a_batch_has_one_class_or_one_sample(
    strengths: tuple[float, float],
) -> None:
    for count in (1, 6):
        targets = torch.tensor([[0.0, 1.0, 0.0]]).repeat(count, 1)
        batch, mixed = mix({"image": named_pictures(count)}, targets, *strengths, generator(3))
        assert torch.allclose(mixed, targets)
        if count == 1:
            assert torch.equal(batch["image"].float(), named_pictures(1).float())
