from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import GraftError
from pipeline.finetune.plan import few_for_statistics, plan_of
from pipeline.machine.settings import Settings
from pipeline.modalities.image.recipe import ImageFinetune
from pipeline.modalities.registry import find_modality
from pipeline.modalities.text.recipe import TextFinetune
from pipeline.modalities.training import TrainingOptions
from pipeline.recipe.sections import Finetune

CPU = Settings("cpu", "fp32", threads=2, why="test")


def test_plan_of_holds_the_numbers_of_the_recipe_and_the_settings_of_the_machine() -> None:
    section = ImageFinetune(epochs=7, batch_size=9, learning_rate=0.3, layer_decay=0.5, warmup=0.2)
    cuda = Settings("cuda", "bf16", threads=2, why="test")
    plan = plan_of(section, TrainingOptions(), cuda, seed=5, samples=100)
    assert (plan.device, plan.precision, plan.seed) == ("cuda", "bf16", 5)
    for part in (plan, plan.rates, plan.objective, plan.keeping):
        shared = {field.name for field in fields(part)} & set(ImageFinetune.model_fields) - {"lora"}
        asked = {name: getattr(section, name) for name in shared - {"device", "precision"}}
        assert {name: getattr(part, name) for name in asked} == asked


@given(st.integers(1, 10**6))
def test_plan_of_open_choices_sees_enough_samples_and_not_more_of_many_than_they_need(samples: int) -> None:
    plan = plan_of(Finetune(), TrainingOptions(), CPU, seed=0, samples=samples)
    assert plan.batch_size == (16 if samples < 250 else 32)
    assert 1 <= plan.epochs <= 40
    seen = plan.epochs * samples
    assert plan.epochs == 40 or seen >= 7400
    assert plan.epochs == 1 or seen <= 60_000


def test_batch_statistics_are_frozen_where_steps_or_batches_are_few() -> None:
    assert few_for_statistics(samples=36, batch_size=32, epochs=3)
    assert few_for_statistics(samples=10_000, batch_size=4, epochs=10)
    assert few_for_statistics(samples=1600, batch_size=32, epochs=5)
    assert not few_for_statistics(samples=10_000, batch_size=32, epochs=6)


@pytest.mark.parametrize(
    ("kind", "section", "freeze_batch_norm", "batch_by_length"),
    [
        ("image", ImageFinetune(), True, False),
        ("image", ImageFinetune(batch_norm="train"), False, False),
        ("image", ImageFinetune(batch_norm="frozen"), True, False),
        ("text", TextFinetune(), True, True),
        ("text", TextFinetune(batching="random"), True, False),
    ],
)
def test_plan_of_takes_what_only_some_kinds_can_choose(
    kind: str, section: Finetune, *, freeze_batch_norm: bool, batch_by_length: bool
) -> None:
    options = find_modality(kind).load().training_options(section)
    plan = plan_of(section, options, CPU, seed=0, samples=36)
    assert (plan.freeze_batch_norm, plan.batch_by_length) == (freeze_batch_norm, batch_by_length)


@pytest.mark.parametrize("technique", ["mixup", "cutmix"])
def test_plan_of_refuses_mixing_when_the_kind_has_none(technique: str) -> None:
    section = Finetune(**{technique: 0.4})
    with pytest.raises(GraftError, match=rf"finetune\.{technique}: .*Leave it out"):
        plan_of(section, TrainingOptions(), CPU, seed=0, samples=100)
    options = TrainingOptions(mixing=("mixup", "cutmix"))
    assert getattr(plan_of(section, options, CPU, seed=0, samples=100).objective, technique) == 0.4


def test_recipe_refuses_mixing_of_texts_and_two_cures_of_imbalance() -> None:
    with pytest.raises(ValidationError, match=r"mixup is for pictures.*Leave it out"):
        TextFinetune(mixup=0.2)
    with pytest.raises(ValidationError, match="would each make up for classes of unequal size"):
        Finetune(class_weights="balanced", sampling="balanced")
    with pytest.raises(ValidationError, match="sampling: balanced and logit_adjustment"):
        Finetune(logit_adjustment=1.0, sampling="balanced")
    assert Finetune(class_weights="auto", sampling="balanced").sampling == "balanced"


def test_a_batch_of_one_has_no_statistics_to_train() -> None:
    section, options = ImageFinetune(batch_size=2), TrainingOptions(freeze_batch_norm=False)
    with pytest.raises(GraftError, match=r"finetune\.batch_norm: train, but a batch_size of 2"):
        plan_of(section, options, CPU, seed=0, samples=9)
    assert plan_of(section, options, CPU, seed=0, samples=10).freeze_batch_norm is False
