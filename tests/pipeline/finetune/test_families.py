from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.artifacts.onnx import to_onnx
from pipeline.artifacts.sessions import answer
from pipeline.finetune.plan import Plan, Rates
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.text.training import DYNAMIC_AXES
from pipeline.modalities.training import Classifier
from tests.families import SAMPLES, builder_of, prepared_of

FAMILIES = ("test_resnet", "test_efficientnet", "test_vit", "bert", "albert", "gpt2")
MODES = ("full", "lp-ft", "gradual", "lora")
EPOCHS = 2
PLAN = Plan(epochs=EPOCHS, batch_size=8, rates=Rates(3e-3, warmup=0.0), freeze_batch_norm=True)


def trained(family: str, mode: str) -> tuple[Training, list[float]]:
    """A training that is done, and the mean loss of each of its epochs."""
    prepared = prepared_of(family)
    training = Training(prepared, PLAN, strategy_named(mode))
    torch.manual_seed(0)  # the networks' own dropout draws from torch's source
    losses = []
    for epoch in range(1, EPOCHS + 1):
        losses.append(training.run_epoch(epoch))
        training.end_epoch()
    return training, losses


def rebuilt(family: str, state: dict[str, torch.Tensor]) -> Classifier:
    """What a later command builds from the card and the weights."""
    classifier = builder_of(family)()
    classifier.saved().load_state_dict(state, strict=True)
    classifier.saved().eval()
    return classifier


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_strategy_trains_and_its_state_is_the_network_that_trained(family: str, mode: str) -> None:
    training, losses = trained(family, mode)
    assert losses[-1] < losses[0]
    logits = training.compute_validation_logits()
    state = dict(training.strategy.state(training.classifier))
    assert np.array_equal(training.compute_validation_logits(), logits), "the state disturbed the training"

    examples = training.prepared.validation.examples
    again = compute_logits(rebuilt(family, state), examples, "cpu", "again", "samples")
    assert np.allclose(again, logits, atol=1e-5)
    repeated, _ = trained(family, mode)
    assert hash_tensors(repeated.strategy.state(repeated.classifier)) == hash_tensors(state)


@pytest.mark.slow
def test_a_merged_lora_is_exported_like_any_other_network() -> None:
    training, _ = trained("gpt2", "lora")
    classifier = rebuilt("gpt2", dict(training.strategy.state(training.classifier)))
    examples = training.prepared.validation.examples
    feeds = [
        {name: value.numpy() for name, value in examples.batch(np.array([index]), "cpu").items()}
        for index in range(SAMPLES)
    ]
    batch = {name: value.numpy() for name, value in examples.batch(np.arange(2), "cpu").items()}
    model = to_onnx(classifier, batch, output_name="logits", metadata={}, dynamic_axes=DYNAMIC_AXES)
    assert np.allclose(answer(model.content, feeds), training.compute_validation_logits(), atol=1e-4)
