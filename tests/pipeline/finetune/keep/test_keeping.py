from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.course.course import Course
from pipeline.finetune.course.loop import train
from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import Judged, judge
from pipeline.finetune.keep.keeping import Kept
from pipeline.finetune.plan import Keeping, Rates
from pipeline.finetune.resuming.stopping import Stops
from pipeline.finetune.resuming.tree import copied
from pipeline.finetune.start.prepared import Split
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.tensors import hash_tensors
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.finetune.course.test_loop import PLAN, fit, prepared, split

START = prepared()
losses_of = st.lists(st.floats(0, 3), min_size=1, max_size=20)


def epoch(number: int, loss: float) -> Candidate:
    judged = Judged(loss, np.full(4, loss), accuracy=0.5, temperature=1.0)
    return Candidate(f"epoch {number}", number, {}, np.zeros((4, 2), np.float32), judged)


def kept_of(losses: list[float], **keeping: int | None) -> Kept:
    kept = Kept(START, replace(PLAN, epochs=100, keeping=Keeping(**keeping)))
    for number, loss in enumerate(losses, 1):
        kept.add(epoch(number, loss))
    return kept


@given(losses_of, st.integers(0, 6))
def test_kept_holds_the_best_epochs_and_no_more_than_the_soup_needs(losses: list[float], soup: int) -> None:
    kept = kept_of(losses, soup=soup)
    ranked = np.argsort(losses, kind="stable")[: max(1, soup)] + 1
    assert [held.epoch for held in kept.epochs] == ranked.tolist()
    better = min(losses) < START.floor.judged.loss
    assert kept.best.epoch == (ranked[0] if better else 0)


@given(losses_of, st.integers(1, 5))
def test_is_over_after_as_many_epochs_without_an_improvement(losses: list[float], patience: int) -> None:
    best_first = int(np.argmin(losses))
    assert kept_of(losses, patience=patience).is_over(len(losses)) == (
        len(losses) - 1 - best_first >= patience
    )
    assert not kept_of(losses, patience=None).is_over(len(losses))


def test_training_that_gets_better_goes_on_below_the_best_head() -> None:
    worse = START.floor.judged.loss + 1
    assert not kept_of([worse + 3, worse + 2, worse + 1], patience=1).is_over(3)


def test_train_ends_early_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    start = prepared(Split(split(32, 2).examples, 1 - split(32, 2).targets))
    with caplog.at_level(logging.INFO, logger="graft"):
        outcome = fit(start, Rates(0.05, warmup=0.0), epochs=30, keeping=Keeping(patience=3))
    ends = len(outcome.epochs) - 1
    losses = [each.validation_loss for each in outcome.epochs[1:]]
    assert ends == int(np.argmin(losses)) + 1 + 3 < 30
    told = f"ends after epoch {ends} of 30, since validation has not improved after epoch {ends - 3}"
    assert told in caplog.text
    assert "finetune.patience: 3" in caplog.text


def test_kept_goes_on_from_its_state() -> None:
    start, plan = prepared(), replace(PLAN, epochs=9, keeping=Keeping(soup=2, patience=2))
    targets = start.validation.targets
    first, second = Kept(start, plan), Kept(start, plan)
    for number in range(4):
        logits = np.random.default_rng(number).normal(size=(32, 2)).astype(np.float32)
        state = {"weight": torch.full((2,), float(number))}
        first.add(Candidate(f"epoch {number}", number, state, logits, judge(CLASSIFICATION, logits, targets)))
    second.restore(first.state())
    assert (second.lowest, second.waited) == (first.lowest, first.waited)
    assert [held.name for held in second.epochs] == [held.name for held in first.epochs]
    assert all(
        held.judged.loss == other.judged.loss for held, other in zip(second.epochs, first.epochs, strict=True)
    )


def test_plateau_and_clipping_change_the_training() -> None:
    start = prepared(Split(split(32, 2).examples, 1 - split(32, 2).targets))

    def last_loss(**rates: object) -> float:
        plan = replace(PLAN, epochs=8, rates=replace(Rates(0.05, schedule="constant"), **rates))
        return train(start, plan, Full(head_first=True)).epochs[-1].train_loss or 0.0

    assert last_loss() == last_loss(clip_norm=1e9)
    assert len({last_loss(), last_loss(schedule="plateau"), last_loss(clip_norm=1e-6)}) == 3


@pytest.mark.parametrize("stopped_after", [1, 3, 6])
def test_a_training_with_average_soup_plateau_and_patience_goes_on_exactly(stopped_after: int) -> None:
    start = prepared()
    plan = replace(
        PLAN,
        epochs=8,
        rates=Rates(0.05, schedule="plateau", clip_norm=0.5),
        keeping=Keeping(ema=True, soup=3, patience=6),
    )
    whole, halves = (Course(start, plan, Full(head_first=True)) for _ in range(2))
    stops = Stops(0.0)
    while whole.epoch <= stopped_after:
        whole.run_epoch(stops)
    halves.restore(copied(whole.state()))
    for course in (whole, halves):
        while not course.is_over:
            course.run_epoch(stops)
    first, second = whole.result(), halves.result()
    assert second.kept.name == first.kept.name
    assert hash_tensors(second.kept.state) == hash_tensors(first.kept.state)
    assert [held.validation_loss for held in second.epochs] == [held.validation_loss for held in first.epochs]
    assert halves.training.schedule.state() == whole.training.schedule.state()
