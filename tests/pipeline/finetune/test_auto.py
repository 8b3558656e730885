from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.finetune.auto import SECOND_FACTOR, decide
from pipeline.finetune.course.loop import Outcome, train
from pipeline.finetune.plan import Plan, Rates
from pipeline.finetune.start.prepared import Prepared, Split
from pipeline.finetune.strategies.strategy import Strategy
from tests.pipeline.finetune.course.test_loop import PLAN, prepared, split


class Fits:
    """Trainings, and the rates that were asked for."""

    def __init__(self, start: Prepared) -> None:
        self.start = start
        self.rates: list[float] = []

    def __call__(self, name: str, plan: Plan, strategy: Strategy) -> Outcome:
        assert f"{plan.rates.learning_rate:.3g}" in name
        self.rates.append(plan.rates.learning_rate)
        return train(self.start, plan, strategy)


def test_auto_trains_once_where_that_is_clearly_better_than_the_head() -> None:
    start = prepared(split(200, 2))
    fits = Fits(start)
    decision = decide(start, PLAN, fits, rate_is_given=False)
    assert fits.rates == [PLAN.rates.learning_rate]
    assert (decision.mode, len(decision.trials)) == ("lp-ft", 1)
    assert "better than the best head" in decision.why
    assert decision.outcome.kept.judged.loss < start.floor.judged.loss


@pytest.mark.parametrize("given", [True, False])
def test_auto_tries_a_lower_rate_where_the_usual_one_harms_and_keeps_the_head_where_both_do(
    given: bool,
) -> None:
    turned = Split(split(64, 2).examples, 1 - split(64, 2).targets)  # the more is learned, the worse it is
    start = prepared(turned)
    fits = Fits(start)
    plan = replace(PLAN, rates=Rates(1.0))
    decision = decide(start, plan, fits, rate_is_given=given)
    assert fits.rates == ([1.0] if given else [1.0, SECOND_FACTOR])
    assert decision.mode == "features"
    assert decision.outcome.kept is start.floor
    assert "kept the best head on frozen features" in decision.why
    assert all(trial.loss > start.floor.judged.loss for trial in decision.trials)
