from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.finetune.course.loop import train
from pipeline.finetune.keep.distill import average_views, continued, distill
from pipeline.finetune.plan import Keeping, Objective, Rates
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.image.views import views_named
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Batch, Views
from tests.chance import global_chance
from tests.pipeline.finetune.course.test_loop import PLAN, prepared

START = prepared()
SLOW = replace(PLAN, epochs=5, rates=Rates(0.01), freeze_batch_norm=True)
KEPT = train(START, SLOW, Full(head_first=True)).kept


def same(batch: Batch) -> Batch:
    return batch


def smoother(batch: Batch) -> Batch:
    """Pictures without their noise, which are told apart better than those with it."""
    return {"image": batch["image"].float().mean(dim=(1, 2), keepdim=True).expand(batch["image"].shape)}


def darker(batch: Batch) -> Batch:
    return {"image": torch.zeros_like(batch["image"])}


def test_average_views_is_the_mean_of_the_probabilities() -> None:
    views, examples = views_named("mirror"), START.validation.examples
    assert views is not None
    found = average_views(START, PLAN, START.classifier, examples, views)
    images = torch.from_numpy(examples.pixels)
    with torch.inference_mode():
        both = [torch.softmax(START.classifier.eval()(image=each), 1) for each in (images, images.flip(2))]
    assert found == pytest.approx(((both[0] + both[1]) / 2).numpy(), abs=1e-6)


def test_distill_leaves_the_network_where_the_average_is_worse(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="graft"):
        kept, record = distill(START, SLOW, KEPT, Views("each picture and the night", (same, darker, darker)))
    assert kept is KEPT
    assert not record.taught
    assert record.gain.nats < 0
    assert record.gain.low <= record.gain.nats <= record.gain.high
    assert "averaged over each picture and the night, answers on validation are" in caplog.text
    assert "worse (95 % interval" in caplog.text


def test_distill_teaches_what_is_better_and_keeps_it_only_if_the_single_pass_is() -> None:
    before, state = hash_tensors(START.classifier.saved().state_dict()), hash_tensors(KEPT.state)
    with global_chance() as is_as_before:
        kept, record = distill(
            START, replace(SLOW, epochs=20), KEPT, Views("smooth pictures", (same, smoother))
        )
        assert is_as_before()
    assert record.gain.nats > 0
    assert record.taught == (kept is not KEPT)
    assert record.taught
    assert kept.name == f"{KEPT.name}, taught by smooth pictures"
    assert kept.epoch == KEPT.epoch
    assert kept.judged.loss < KEPT.judged.loss
    assert hash_tensors(START.classifier.saved().state_dict()) == before
    assert hash_tensors(KEPT.state) == state
    classifier = copy.deepcopy(START.classifier)
    classifier.saved().load_state_dict(kept.state)
    again = compute_logits(classifier, START.validation.examples, "cpu", "again", "pictures")
    assert np.allclose(again, kept.logits, atol=1e-6)


def test_continued_is_short_and_slow_and_aims_at_nothing_else() -> None:
    plan = continued(
        replace(
            PLAN,
            epochs=10,
            objective=Objective(label_smoothing=0.1, mixup=0.2, focal=2.0),
            keeping=Keeping(ema=True, soup=3, patience=2),
            rates=Rates(0.01, layer_decay=0.7, schedule="plateau"),
        )
    )
    assert (plan.epochs, plan.objective, plan.keeping) == (2, Objective(), Keeping())
    assert plan.rates.learning_rate == pytest.approx(0.001)
    assert plan.rates.layer_decay == 0.7
    assert continued(replace(PLAN, epochs=1)).epochs == 1
