"""The parts of the training split that a learning curve is drawn through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.curve import Size, check_sizes, draw_order, read_sizes, sizes_of
from pipeline.errors import DataError, GraftError
from pipeline.files.layout import RunFolder


def test_sizes_are_shares_or_numbers() -> None:
    assert read_sizes("10%, 30%,100%,200") == (
        Size(0.1, is_share=True),
        Size(0.3, is_share=True),
        Size(1.0, is_share=True),
        Size(200, is_share=False),
    )


@pytest.mark.parametrize("text", ["", "0%", "120%", "0.3", "many", "-5", "0", "10%;30%"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(GraftError, match="--samples"):
        read_sizes(text)


def test_the_whole_split_is_always_among_the_sizes() -> None:
    targets = np.array([0, 1] * 50)
    assert sizes_of(read_sizes("30%,10%,30"), targets) == [10, 30, 100]


@pytest.mark.parametrize("text", ["1%", "101", "3"])
def test_sizes_that_do_not_fit_the_split_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="the split has 100"):
        sizes_of(read_sizes(text), np.array([0, 1] * 50))


def test_sizes_are_checked_by_the_samples_of_a_run(tiny_run: Path) -> None:
    check_sizes((), RunFolder(tiny_run))
    check_sizes(read_sizes("50%"), RunFolder(tiny_run))
    with pytest.raises(DataError, match=r"--samples: 2% would be 1 training samples"):
        check_sizes(read_sizes("2%,50%"), RunFolder(tiny_run))


def test_every_beginning_of_an_order_has_all_classes_and_about_their_shares() -> None:
    targets = np.array([0] * 150 + [1] * 45 + [2] * 5)
    order = draw_order(targets, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(200))
    assert np.bincount(targets[order[:6]]).tolist() == [2, 2, 2]
    assert np.bincount(targets[order[:100]]).tolist() == pytest.approx([75, 22.5, 2.5], abs=2)


def test_orders_differ_by_draw() -> None:
    targets = np.arange(60) % 2
    first, second = (draw_order(targets, np.random.default_rng([0, draw])) for draw in (0, 1))
    assert not np.array_equal(first, second)
