from __future__ import annotations

from dataclasses import fields

import pytest

from pipeline.finetune.plan import Plan, plan_of
from pipeline.machine.settings import Settings
from pipeline.modalities.image.recipe import ImageFinetune
from pipeline.modalities.registry import find_modality
from pipeline.modalities.text.recipe import TextFinetune
from pipeline.modalities.training import TrainingOptions
from pipeline.recipe.sections import Finetune

CPU = Settings("cpu", "fp32", threads=2, why="test")


def test_plan_of_holds_the_numbers_of_the_recipe_and_the_settings_of_the_machine() -> None:
    section = ImageFinetune(epochs=7, batch_size=9, learning_rate=0.3, layer_decay=0.5, warmup=0.2)
    plan = plan_of(section, TrainingOptions(), Settings("cuda", "bf16", threads=2, why="test"), seed=5)
    assert (plan.device, plan.precision, plan.seed) == ("cuda", "bf16", 5)
    shared = {field.name for field in fields(Plan)} & set(ImageFinetune.model_fields)
    asked = {name: getattr(section, name) for name in shared - {"device", "precision"}}
    assert {name: getattr(plan, name) for name in asked} == asked


@pytest.mark.parametrize(
    ("kind", "section", "freeze_batch_norm", "batch_by_length"),
    [
        ("image", ImageFinetune(), False, False),
        ("image", ImageFinetune(batch_norm="frozen"), True, False),
        ("text", TextFinetune(), False, True),
        ("text", TextFinetune(batching="random"), False, False),
    ],
)
def test_plan_of_takes_what_only_some_kinds_can_choose(
    kind: str, section: Finetune, *, freeze_batch_norm: bool, batch_by_length: bool
) -> None:
    options = find_modality(kind).load().training_options(section)
    plan = plan_of(section, options, CPU, seed=0)
    assert (plan.freeze_batch_norm, plan.batch_by_length) == (freeze_batch_norm, batch_by_length)
