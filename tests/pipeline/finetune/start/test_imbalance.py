from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.start.imbalance import HALF, UNBALANCED, choose_balance, inverse
from pipeline.recipe.finetune import Finetune

LABELS = ("a", "b", "c")
UNEQUAL = np.array([400.0, 40.0, 20.0])
EQUAL = np.array([40.0, 40.0, 39.0])


@given(st.lists(st.floats(0.5, 1e4), min_size=2, max_size=5).map(np.array))
def test_inverse_weighs_all_classes_alike_with_a_mean_of_one(sizes: np.ndarray) -> None:
    weights = inverse(sizes)
    assert (weights * sizes).sum() / sizes.sum() == pytest.approx(1, rel=1e-5)
    assert weights * sizes == pytest.approx(np.full(len(sizes), (weights * sizes)[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("section", "sizes", "weighted", "heads", "adjustment", "said"),
    [
        (
            Finetune(),
            EQUAL,
            False,
            False,
            0.0,
            "1.0 times the samples .* c .39.; all samples count alike, since .* below 10",
        ),
        (
            Finetune(),
            UNEQUAL,
            False,
            False,
            HALF,
            "20.0 times .* c .20.; .* strength of 0.5, since .* 10 times or more",
        ),
        (Finetune(class_weights="none"), UNEQUAL, False, False, 0.0, "all samples count alike$"),
        (Finetune(class_weights="balanced"), EQUAL, True, True, 0.0, "weighted inversely to its size"),
        (Finetune(sampling="balanced"), UNEQUAL, False, True, 0.0, "drawn equally often"),
        (Finetune(logit_adjustment=1.0), EQUAL, False, False, 1.0, "with a strength of 1$"),
    ],
)
def test_choose_balance_does_what_the_recipe_says_or_what_the_sizes_ask_for(
    section: Finetune, sizes: np.ndarray, *, weighted: bool, heads: bool, adjustment: float, said: str
) -> None:
    balance = choose_balance(section, sizes, LABELS)
    assert (balance.weights is not None, balance.head_weights is not None) == (weighted, heads)
    assert balance.adjustment == adjustment
    assert balance.sizes == tuple(sizes)
    assert re.search(said, balance.why)
    assert balance.why.startswith("classes: the largest, a, has")


def test_auto_acts_from_its_ratio_on() -> None:
    below, at = np.array([UNBALANCED * 10 - 1, 10]), np.array([UNBALANCED * 10, 10])
    strengths = [choose_balance(Finetune(), sizes, LABELS).adjustment for sizes in (below, at)]
    assert strengths == [0.0, HALF]


def test_heads_weigh_classes_that_are_drawn_equally_often() -> None:
    targets = np.array([0, 0, 0, 1])
    sizes = np.array([3.0, 1.0])
    drawn = choose_balance(Finetune(sampling="balanced"), sizes, LABELS)
    masses = drawn.masses_for_heads(targets, None)
    assert masses is not None
    assert masses.sum(axis=0) == pytest.approx([2, 2])
    soft = np.array([[0.5, 0.5]] * 4, np.float32)
    assert drawn.masses_for_heads(targets, soft) == pytest.approx(soft * inverse(sizes))
    plain = choose_balance(Finetune(), sizes, LABELS)
    assert plain.masses_for_heads(targets, None) is None
    assert plain.masses_for_heads(targets, soft) is soft
