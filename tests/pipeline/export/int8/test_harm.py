"""The search for layers to keep, on networks whose layers' harm is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pipeline.artifacts.limits import LIMITS
from pipeline.export.int8 import harm
from pipeline.export.int8.harm import Quantised, Trial, keep_most_harmful, neighbours

INPUTS = 200


class Network:
    """A network whose layers each shift all logits by their harm, and that counts how often it is run."""

    def __init__(self, harms: Mapping[str, float]) -> None:
        self.harms = harms
        self.models = 0
        self.runs = 0

    def quantise(self, kept: Sequence[str], inputs: Sequence[object]) -> Quantised:
        self.models += 1
        self.runs += len(inputs)
        shift = sum(harm for name, harm in self.harms.items() if name not in kept)
        return Quantised(b"", "method", tuple(kept), answers(shift)[: len(inputs)])

    def search(self) -> Quantised:
        start = self.quantise((), range(INPUTS))
        self.models = self.runs = 0
        trial = Trial(self.quantise, list(range(INPUTS)), answers(0.0), LIMITS["int8"])
        return keep_most_harmful(start, list(self.harms), trial)


def answers(shift: float) -> np.ndarray:
    logits = np.zeros((INPUTS, 2))
    logits[:, 0] = 1 + shift
    exponents = np.exp(logits)
    return exponents / exponents.sum(axis=1, keepdims=True)


def network(layers: int, *harmful: int, harm: float = 0.2) -> Network:
    return Network({f"layer{i}": harm if i in harmful else 0.0001 for i in range(layers)})


def test_search_puts_the_fewest_layers_back() -> None:
    made = network(16, 3, 11, 12, harm=0.12).search()
    assert set(made.kept) < {"layer3", "layer11", "layer12"}, (
        "with one of the three left the answers are close"
    )
    assert len(made.kept) == 2
    assert made.method == "method"


@pytest.mark.parametrize("layers", [1, 2, 7, 48, 400])
def test_search_costs_a_bounded_number_of_runs_however_deep_the_network_is(layers: int) -> None:
    net = network(layers, *range(0, layers, 9), harm=1.0 / layers)
    net.search()
    assert net.models <= harm.GROUPS + 4
    assert net.runs <= harm.GROUPS * harm.HARDEST + 4 * INPUTS


def test_search_stops_after_one_try_where_the_limits_are_out_of_reach() -> None:
    net = Network({f"layer{i}": 0.1 for i in range(48)})
    made = net.search()
    assert net.models == harm.GROUPS + 1
    assert made.kept == ()
    assert made.method == "method; no quarter of its layers in fp32 keeps to the limits"


def test_search_keeps_a_quarter_that_is_within_the_limits_though_not_well_within() -> None:
    net = Network({f"layer{i}": 0.2 if i < 5 else 0.02 for i in range(20)})
    made = net.search()
    assert set(made.kept) == {f"layer{i}" for i in range(5)}


@pytest.mark.parametrize(("count", "most"), [(1, 8), (8, 8), (48, 16), (50, 16), (3, 16)])
def test_neighbours_are_groups_of_about_the_same_size(count: int, most: int) -> None:
    names = [str(number) for number in range(count)]
    groups = neighbours(names, most)
    assert [name for group in groups for name in group] == names
    assert len(groups) == min(count, most)
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
