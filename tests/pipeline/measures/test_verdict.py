"""The verdict on transfer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.measures.records import Measure, TransferVerdict
from pipeline.measures.verdict import Opponent, judge_transfer

Answers = np.ndarray


def right(share: float, targets: Answers, seed: int, classes: int = 2) -> Answers:
    """Answers of which a share is right by chance."""
    rng = np.random.default_rng(seed)
    others = (targets + rng.integers(1, classes, len(targets))) % classes
    return np.where(rng.random(len(targets)) < share, targets, others)


def judged(
    ours: Answers,
    classic: Answers,
    scratch: Answers,
    head: Answers,
    targets: Answers,
    measure: Measure = "accuracy",
) -> TransferVerdict:
    opponents = [
        Opponent("words", is_transfer=False, answers=classic),
        Opponent("random weights", is_transfer=False, answers=scratch),
        Opponent("the head", is_transfer=True, answers=head),
    ]
    return judge_transfer(ours, opponents, targets, 2, measure=measure, margin=0.05, seed=0)


def targets_of(count: int) -> Answers:
    return np.arange(count) % 2


def test_transfer_helps_when_it_beats_all_that_do_without_it() -> None:
    targets = targets_of(600)
    shares: Sequence[float] = (0.9, 0.75, 0.6, 0.89)
    found = judged(*(right(share, targets, seed) for seed, share in enumerate(shares)), targets)
    assert (found.answer, found.against) == ("helps", "words")
    assert found.difference_95[0] > 0
    assert found.why.startswith("Transfer helps: accuracy 0.")


def test_transfer_is_not_claimed_when_one_opponent_without_it_does_as_well() -> None:
    targets = targets_of(600)
    found = judged(targets, targets, right(0.6, targets, 1), targets, targets)
    assert (found.answer, found.against) == ("no_measurable_difference", "words")
    assert found.difference_95[1] < 0.05


def test_transfer_hurts_when_an_opponent_is_better_and_the_sentence_says_which() -> None:
    targets = targets_of(600)
    words = judged(right(0.7, targets, 0), right(0.85, targets, 1), targets * 0, targets * 0, targets)
    assert (words.answer, words.against) == ("hurts", "words")
    assert words.why.startswith("Transfer hurts (negative transfer)")
    head = judged(
        right(0.7, targets, 0), right(0.6, targets, 1), targets * 0, right(0.9, targets, 2), targets
    )
    assert (head.answer, head.against) == ("hurts", "the head")
    assert head.why.startswith("Fine-tuning hurts")


def test_nothing_is_told_when_samples_are_too_few() -> None:
    targets = targets_of(20)
    found = judged(right(0.9, targets, 0), right(0.8, targets, 1), targets * 0, targets, targets)
    assert found.answer == "cannot_be_told"
    assert "cannot be told from so few samples" in found.why
    assert f"could have shown is {found.smallest_difference:.3f}" in found.why


@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy"])
def test_nothing_is_told_when_the_model_is_not_better_than_guessing(measure: Measure) -> None:
    targets = (np.arange(2000) % 4 == 0).astype(np.int64)  # most are of class 0
    guessing = [np.random.default_rng(seed).integers(0, 2, 2000) for seed in range(3)]
    found = judged(targets * 0, *guessing, targets, measure)  # always naming class 0 has the better accuracy
    assert found.answer == "cannot_be_told"
    assert "the model is not clearly better than guessing" in found.why


def test_a_guesser_that_is_right_more_often_is_neither_called_equal_nor_better() -> None:
    targets = (np.arange(4000) % 20 == 0).astype(np.int64)
    for share in (0.86, 0.93):  # the model finds the small class, and names it too often
        found = judged(right(share, targets, 0), *([targets * 0] * 3), targets)
        assert found.answer == "cannot_be_told"
        assert "an opponent that only guesses is right more often" in found.why
        assert "so few samples" not in found.why


def test_the_opponent_that_is_not_beaten_decides() -> None:
    targets = targets_of(400)
    beaten = np.where(np.arange(400) < 8, 1 - targets, targets)  # eight fewer are told from chance
    unbeaten = np.where(np.arange(400) < 4, 1 - targets, targets)  # four fewer are not
    found = judge_transfer(
        targets,
        [
            Opponent("beaten", is_transfer=False, answers=beaten),
            Opponent("not beaten", is_transfer=False, answers=unbeaten),
        ],
        targets,
        2,
        measure="accuracy",
        margin=0.05,
        seed=0,
    )
    assert (found.answer, found.against) == ("no_measurable_difference", "not beaten")


def test_no_opponent_gives_no_answer() -> None:
    targets = targets_of(100)
    found = judge_transfer(targets, [], targets, 2, measure="accuracy", margin=0.05, seed=0)
    assert (found.answer, found.against, found.difference_95) == ("cannot_be_told", None, (-1.0, 1.0))
    assert found.why.endswith("there is nothing without transfer to compare with.")


def test_labels_of_noise_hardly_ever_get_an_answer() -> None:
    rng, answers = np.random.default_rng(5), []
    for _ in range(100):
        targets = rng.integers(0, 2, 400)
        found = judged(*(rng.integers(0, 2, 400) for _ in range(4)), targets)
        answers.append(found.answer)
    assert answers.count("cannot_be_told") >= 98


def test_several_opponents_do_not_raise_the_chance_of_a_false_alarm() -> None:
    """Of equal models with the same share of right answers, hardly any is said to be harmed."""
    rng, alarms, claims = np.random.default_rng(3), 0, 0
    for _ in range(200):
        targets = rng.integers(0, 2, 200)
        found = judged(*(right(0.8, targets, int(rng.integers(2**32))) for _ in range(4)), targets)
        alarms += found.answer == "hurts"
        claims += found.answer == "helps"
    assert alarms <= 10
    assert claims <= 10
