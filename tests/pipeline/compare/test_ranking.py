"""Which backbones go on, and which is taken."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compare.ranking import Standing, accuracy_interval, choose, go_on, pareto, rows_of
from pipeline.compare.records import Cost, FoldFigures, Judgement, Probe, Tuned


def judgement(losses: np.ndarray, accuracy: float = 0.8) -> Judgement:
    answers = tuple(int(place >= accuracy * len(losses)) for place in range(len(losses)))
    return Judgement(
        loss=float(losses.mean()),
        accuracy=accuracy,
        temperature=1.0,
        losses=tuple(losses.tolist()),
        answers=answers,
    )


def standing(
    name: str, loss: float, ms: float, *, noise: float = 0.0, tuned: float | None = None
) -> Standing:
    """A backbone whose folds have about a loss, and which was fine-tuned to another one."""
    wave = np.cos(7 * ms * np.arange(10))
    folds = loss + noise * (wave - wave.mean())
    figures = FoldFigures(losses=tuple(folds.tolist()), accuracies=(0.8, 0.9) * 5, sizes=(10,) * 10)
    probe = Probe(
        folds=figures, out_of_fold=judgement(np.full(100, folds.mean())),
        validation=judgement(np.full(40, loss)), penalty=1.0, features=8, logme=-loss,
    )  # fmt: skip
    cost = Cost(ms=ms, low_ms=ms, high_ms=ms, runs=80, parameters=int(1e6 * ms), onnx_bytes=1, cpu="a CPU")
    found = Standing(name, cost=cost, probe=probe)
    if tuned is not None:
        losses = np.full(40, tuned)
        found.tuned.append(Tuned(epochs=2, kept="epoch 2", seconds=1.0, validation=judgement(losses)))
    return found


def test_the_best_half_goes_on_but_two_at_least() -> None:
    five = [standing(str(place), 0.1 * place, 1.0) for place in (3, 1, 5, 2, 4)]
    assert [each.name for each in go_on(five)] == ["1", "2", "3"]
    assert [each.name for each in go_on(five[:3])] == ["1", "3"]
    assert [each.name for each in go_on(five[:1])] == ["3"]


def test_the_fastest_is_taken_of_those_that_chance_may_part() -> None:
    fast, slow = standing("fast", 0.305, 1.0, noise=0.05), standing("slow", 0.3, 4.0, noise=0.05)
    choice = choose([fast, slow], "pictures", 40)
    assert choice.taken is fast
    assert "slow is better by less than one standard error" in choice.sentence
    assert "4.0 times as long" in choice.sentence


def test_noise_of_the_clock_is_no_reason_to_take_the_worse_one() -> None:
    best, other = standing("best", 0.3, 2.0, noise=0.05), standing("other", 0.305, 1.9, noise=0.05)
    assert other.cost is not None
    assert choose([best, other], "pictures", 40).taken is other
    other.cost = other.cost.model_copy(update={"high_ms": 2.3})
    assert choose([best, other], "pictures", 40).taken is best


def test_the_best_is_taken_where_it_is_clearly_better() -> None:
    fast, slow = standing("fast", 0.5, 1.0, noise=0.01), standing("slow", 0.3, 4.0, noise=0.01)
    choice = choose([fast, slow], "pictures", 40)
    assert choice.taken is slow
    assert "is clearly better than the next, fast" in choice.sentence


def test_it_is_told_where_the_lowest_loss_could_be_chance() -> None:
    near, best = standing("near", 0.33, 4.0, noise=0.05), standing("best", 0.3, 1.0, noise=0.05)
    choice = choose([near, best], "pictures", 40)
    assert choice.taken is best
    assert "is not clearly better than the next, near" in choice.sentence


def test_fine_tuning_outweighs_the_probe() -> None:
    probed, tuned = standing("probed", 0.2, 1.0), standing("tuned", 0.4, 2.0, tuned=0.3)
    choice = choose([probed, tuned], "pictures", 40)
    assert choice.taken is tuned
    assert "after 2 epochs" in choice.sentence


def test_what_has_a_reason_against_it_is_never_taken() -> None:
    best, other = standing("best", 0.1, 1.0), standing("other", 0.5, 1.0)
    best.because = "over the budget"
    assert choose([best, other], "pictures", 40).taken is other


def test_interval_over_folds_is_wider_than_that_of_their_mean() -> None:
    accuracies = tuple(np.random.default_rng(0).normal(0.8, 0.05, 10).tolist())
    low, high = accuracy_interval(FoldFigures(losses=(0.0,) * 10, accuracies=accuracies, sizes=(20,) * 10))
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / 10**0.5
    assert low < mean - 2.26 * error
    assert high > mean + 2.26 * error
    assert (low + high) / 2 == pytest.approx(mean)


def test_pareto_keeps_what_no_other_beats_in_both() -> None:
    points = {"a": (1.0, 0.7), "b": (2.0, 0.6), "c": (3.0, 0.9), "d": (1.0, 0.65)}
    assert pareto(points) == ["a", "c"]


def test_rows_begin_with_the_best_and_end_with_what_was_not_measured() -> None:
    lost = Standing("lost", because="no weights")
    rows = rows_of([lost, standing("worse", 0.4, 1.0), standing("better", 0.3, 1.0)])
    assert [row.name for row in rows] == ["better", "worse", "lost"]
    assert [row.logme_rank for row in rows] == [1, 2, None]
    assert rows[-1].because == "no weights"
