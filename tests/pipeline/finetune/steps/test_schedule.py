from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.finetune.plan import Rates
from pipeline.finetune.steps.schedule import SHAPES, Schedule, factors
from pipeline.recipe.finetune import Finetune

names = st.sampled_from(sorted(SHAPES))
warmups = st.floats(0, 0.99)
steps_of = st.integers(1, 300)


def optimizer(*peaks: float) -> torch.optim.AdamW:
    return torch.optim.AdamW([{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in peaks])


def schedule(name: str, *peaks: float, epochs: int = 20, steps: int = 100, warmup: float = 0.1) -> Schedule:
    return Schedule(optimizer(*peaks or (1.0,)), Rates(1.0, schedule=name, warmup=warmup), epochs, steps)


def rates(found: Schedule) -> list[float]:
    return [group["lr"] for group in found.optimizer.param_groups]


@given(names, warmups, steps_of)
def test_factors_stay_between_nothing_and_the_peak_rise_in_the_warm_up_and_never_after_it(
    name: str, warmup: float, steps: int
) -> None:
    factor, rising = factors(name, warmup, steps), int(warmup * steps)
    values = [factor(step) for step in range(steps + 1)]
    assert all(0 <= value <= 1 for value in values)
    assert all(a < b for a, b in pairwise(values[: rising + 1]))
    assert values[0] > 0
    assert values[rising] == 1
    assert all(a >= b for a, b in pairwise(values[rising:]))
    assert all(factor(step) == values[-1] for step in (steps + 1, 10 * steps))


@pytest.mark.parametrize(
    ("name", "end"),
    [("cosine", 0), ("linear", 0), ("one-cycle", 0), ("step", 0.01), ("plateau", 1), ("constant", 1)],
)
@given(warmups, steps_of)
def test_factors_end_where_the_recipe_says(name: str, end: float, warmup: float, steps: int) -> None:
    assert factors(name, warmup, steps)(steps) == pytest.approx(end, abs=1e-12)


def test_factors_are_those_of_torch() -> None:
    """Cosine and one-cycle against torch's own, which take a peak, a lowest rate and no warm-up in steps."""
    mine = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(mine, 40)
    for step in range(40):
        assert factors("cosine", 0.0, 40)(step) == pytest.approx(mine.param_groups[0]["lr"], abs=1e-9)
        mine.step()
        theirs.step()

    stepped = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        stepped, max_lr=1.0, total_steps=101, pct_start=31 / 101, final_div_factor=1e9
    )
    ours = schedule("one-cycle", 1.0, steps=100, warmup=0.3)
    for _ in range(100):
        group, other = ours.optimizer.param_groups[0], stepped.param_groups[0]
        assert group["lr"] == pytest.approx(other["lr"], abs=1e-6)
        assert group["betas"] == pytest.approx(
            other["betas"], abs=4.1e-3
        )  # momentum follows our rate, which starts at 0.04
        ours.step()
        stepped.step()
        cycle.step()


@given(names, warmups, st.lists(st.floats(1e-7, 10), min_size=2, max_size=5), st.integers(0, 60))
def test_schedule_keeps_the_ratios_of_the_layers(
    name: str, warmup: float, peaks: list[float], taken: int
) -> None:
    found = schedule(name, *peaks, steps=60, warmup=warmup)
    for step in range(taken):
        found.step()
        found.end_epoch(float(step))
    share = rates(found)[0] / peaks[0]
    assert rates(found) == pytest.approx([peak * share for peak in peaks])


def test_plateau_lowers_the_rate_only_after_as_many_epochs_without_an_improvement() -> None:
    found = schedule("plateau", epochs=20, warmup=0.0)
    seen = []
    for loss in [1.0, 0.9, 0.9, 0.95, 0.8, 0.85, 0.85, 0.85, 0.85]:
        found.end_epoch(loss)
        seen.append(rates(found)[0])
    assert seen == pytest.approx([1, 1, 1, 1 / 3, 1 / 3, 1 / 3, 1 / 9, 1 / 9, 1 / 27])


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"plateau"}))
def test_other_schedules_go_by_steps_alone(name: str) -> None:
    found = schedule(name)
    before = rates(found)
    for _ in range(10):
        found.end_epoch(1.0)
    assert rates(found) == before


@given(names, st.integers(0, 50), st.lists(st.floats(0, 2), max_size=12))
def test_schedule_goes_on_from_its_state_as_if_nothing_had_been(
    name: str, taken: int, losses: list[float]
) -> None:
    first, second = schedule(name, 1.0, 0.1), schedule(name, 1.0, 0.1)
    for _ in range(taken):
        first.step()
    for loss in losses[::2]:
        first.end_epoch(loss)
    first.slow_down(0.5)
    second.restore(first.state())
    assert rates(second) == rates(first)
    for loss in losses:
        for found in (first, second):
            found.step()
            found.end_epoch(loss)
    assert rates(second) == rates(first)
    assert second.state() == first.state()


def test_schedule_takes_a_group_that_is_added_later() -> None:
    found = schedule("linear", 1.0, steps=10, warmup=0.0)
    for _ in range(4):
        found.step()
    found.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1})
    found.step()
    assert rates(found) == pytest.approx([0.5, 0.05])


def test_recipe_refuses_plateau_with_a_single_epoch_and_names_the_remedy() -> None:
    with pytest.raises(ValidationError, match=r"epochs: 1 leaves none after it; ask for more epochs"):
        Finetune(schedule="plateau", epochs=1)
    assert Finetune(schedule="plateau", epochs=2).schedule == "plateau"


def test_every_schedule_of_a_recipe_is_there() -> None:
    assert set(SHAPES) == set(get_args(Finetune.model_fields["schedule"].annotation))
