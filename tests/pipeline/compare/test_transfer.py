"""The verdict on transfer in a comparison: on which samples it is, and against what."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.pieces import Pieces
from pipeline.compare.ranking import Standing
from pipeline.compare.records import Classic, Cost, FoldFigures, Judgement, OwnOpponents, Probe, Tuned
from pipeline.compare.transfer import find_verdict, judge_taken
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.transfer import Transfer
from pipeline.transfer.stage import HEAD, SCRATCH


@pytest.fixture
def targets(tiny_run: Path) -> dict[str, np.ndarray]:
    """The class indices of each split."""
    everything = read_samples(RunFolder(tiny_run))
    labels = labels_of(everything)
    return {
        split: np.array([labels.index(each.label) for each in everything if each.split == split])
        for split in ("train", "validation")
    }


def judgement(answers: np.ndarray) -> Judgement:
    losses = (0.0,) * len(answers)
    return Judgement(loss=0.0, accuracy=0.0, temperature=1.0, losses=losses, answers=tuple(answers.tolist()))


def figures() -> FoldFigures:
    return FoldFigures(losses=(0.1, 0.1), accuracies=(0.9, 0.9), sizes=(1, 1))


def standing(targets: dict[str, np.ndarray]) -> Standing:
    """A backbone that is always right."""
    probe = Probe(
        folds=figures(), out_of_fold=judgement(targets["train"]), validation=judgement(targets["validation"]),
        penalty=1.0, features=1, logme=0.0,
    )  # fmt: skip
    cost = Cost(ms=1.0, low_ms=1.0, high_ms=1.0, runs=1, parameters=1, onnx_bytes=1, cpu="a CPU")
    return Standing("always right", cost=cost, probe=probe)


def classic(targets: dict[str, np.ndarray], *, right: bool, with_folds: bool) -> Classic:
    """A classic model that is always right, or always says the first class."""
    answers = {name: each if right else np.zeros_like(each) for name, each in targets.items()}
    return Classic(
        name="counted words",
        validation=judgement(answers["validation"]),
        balanced=tuple(answers["validation"].tolist()),
        folds=figures() if with_folds else None,
        out_of_fold=judgement(answers["train"]) if with_folds else None,
    )


def test_transfer_is_claimed_over_a_model_that_knows_nothing_but_not_over_one_as_good(
    tiny_run: Path, targets: dict[str, np.ndarray]
) -> None:
    recipe, run = load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run)
    taken = standing(targets)
    helped = judge_taken(taken, classic(targets, right=False, with_folds=True), None, recipe, run)
    assert (helped.answer, helped.samples) == ("helps", len(targets["train"]))
    assert helped.against == "counted words"
    equal = judge_taken(taken, classic(targets, right=True, with_folds=True), None, recipe, run)
    assert equal.answer in {"no_measurable_difference", "cannot_be_told"}


def test_validation_decides_after_fine_tuning_or_where_the_classic_model_has_no_folds(
    tiny_run: Path, targets: dict[str, np.ndarray]
) -> None:
    recipe, run = load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run)
    taken, validation = standing(targets), len(targets["validation"])
    without = classic(targets, right=False, with_folds=False)
    assert judge_taken(taken, without, None, recipe, run).samples == validation
    turned = judgement(1 - targets["validation"])
    taken.tuned.append(Tuned(epochs=1, kept="epoch 1", seconds=1.0, validation=turned))
    judged = judge_taken(taken, classic(targets, right=True, with_folds=True), None, recipe, run)
    assert (judged.answer, judged.samples) == ("hurts", validation)


def test_after_fine_tuning_the_head_and_random_weights_are_opponents_too(
    tiny_run: Path, targets: dict[str, np.ndarray]
) -> None:
    recipe, run = load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run)
    taken = standing(targets)
    taken.tuned.append(
        Tuned(epochs=1, kept="epoch 1", seconds=1.0, validation=judgement(targets["validation"]))
    )
    right, wrong = (tuple(each.tolist()) for each in (targets["validation"], 1 - targets["validation"]))
    own = OwnOpponents(head=right, scratch=wrong)
    judged = judge_taken(taken, classic(targets, right=False, with_folds=True), own, recipe, run)
    assert [each.name for each in judged.opponents] == [HEAD, "counted words", SCRATCH]
    assert [each.is_transfer for each in judged.opponents] == [True, False, False]


@pytest.mark.slow
def test_own_opponents_answer_validation_and_are_a_piece_that_is_made_once(
    tiny_run: Path, tmp_path: Path, targets: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    recipe = load_recipe(run.recipe)
    recipe = recipe.model_copy(update={"transfer": Transfer(scratch_seconds=0.2)})
    taken = standing(targets)
    taken.tuned.append(
        Tuned(epochs=1, kept="epoch 1", seconds=1.0, validation=judgement(targets["validation"]))
    )
    first = find_verdict(taken, recipe, None, Pieces(run))
    assert first is not None
    assert [each.name for each in first.opponents] == [HEAD, SCRATCH]
    assert first.samples == len(targets["validation"])
    monkeypatch.setattr("pipeline.compare.transfer.answer_as_opponents", lambda *_: pytest.fail("made again"))
    assert find_verdict(taken, recipe, None, Pieces(run)) == first


def test_classes_count_alike_where_the_recipe_balances_them(
    tiny_run: Path, targets: dict[str, np.ndarray]
) -> None:
    recipe, run = load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run)
    balanced = recipe.finetune.model_copy(update={"class_weights": "balanced"})
    taken = standing(targets)
    taken.tuned.append(
        Tuned(epochs=1, kept="epoch 1", seconds=1.0, validation=judgement(targets["validation"]))
    )
    without = classic(targets, right=False, with_folds=False)
    assert judge_taken(taken, without, None, recipe, run).measure == "accuracy"
    recipe = recipe.model_copy(update={"finetune": balanced})
    assert judge_taken(taken, without, None, recipe, run).measure == "balanced_accuracy"
