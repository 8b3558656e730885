from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Adapters, Plan, Rates
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.adapters import adapted_layers, takes_adapter
from pipeline.finetune.strategies.lora import Lora, choose_layers, choose_ranks
from pipeline.machine import extras
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.recipe.finetune import Finetune
from tests.chance import global_chance
from tests.families import prepared_of

PLAN = Plan(epochs=2, batch_size=8, rates=Rates(3e-3, warmup=0.0))


def with_lora(**changes: object) -> Plan:
    return replace(PLAN, adapters=Adapters(**changes))


def test_only_adapters_and_the_head_train_and_only_they_have_gradients_and_optimiser_states() -> None:
    training = Training(prepared_of("test_efficientnet"), with_lora(layers=1.0), Lora())
    module = training.classifier.saved()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training.run_epoch(1)
    parameters = dict(module.named_parameters())
    training_names = {name for name in parameters if ".lora_" in name or name.startswith("classifier.")}
    assert {name for name, value in parameters.items() if value.grad is not None} == training_names
    assert {id(value) for value in training.optimizer.state} == {
        id(parameters[name]) for name in training_names
    }
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == training_names, "batch statistics stay as well"


def test_adapters_stand_beside_linear_layers_and_1x1_convolutions_of_the_upper_layers_alone() -> None:
    training = Training(prepared_of("test_efficientnet"), with_lora(layers=0.5), Lora())
    network = training.classifier.saved()
    adapted = adapted_layers(network)
    assert adapted
    for name, layer in adapted.items():
        base = layer.get_base_layer()
        assert isinstance(base, nn.Linear) or (base.kernel_size == (1, 1) and base.groups == 1), name
    everywhere = choose_layers(prepared_of("test_efficientnet").classifier, None, 1.0)
    assert adapted.keys() < everywhere.keys()
    assert not any(name.startswith("blocks.0") for name in adapted)


def test_lora_is_silent_and_draws_nothing_from_anybodys_chance(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    start = prepared_of("gpt2")
    with global_chance() as is_as_before, warnings.catch_warnings():
        warnings.simplefilter("error")
        Training(start, PLAN, Lora())
        assert is_as_before()
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_where_no_rank_is_given_adapters_and_head_train_two_percent_at_most() -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_small_patch16_224", num_classes=6)
    classifier = ImageClassifier(network, Normalisation((0.5,) * 3, (0.5,) * 3))
    targets = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name != "head"
    }
    total = sum(parameter.numel() for parameter in network.parameters())
    shapes = {name: module.weight.shape for name, module in targets.items()}
    ranks = choose_ranks(network, network.head, targets, None)
    assert set(ranks.values()) == {4}, "8 would be 2.7 %"
    trained = sum(rank * sum(shapes[name]) for name, rank in ranks.items()) + 6 * 385
    assert trained <= 0.02 * total
    assert set(choose_ranks(network, network.head, targets, 16).values()) == {16}
    assert classifier.head_name() == "head"


def test_the_rank_of_a_small_layer_is_its_own_and_a_rank_over_all_of_them_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layers = {"low": nn.Linear(64, 4), "high": nn.Linear(64, 64)}
    network = nn.ModuleDict(layers | {"head": nn.Linear(64, 2)})
    with caplog.at_level(logging.INFO, "graft"):
        assert choose_ranks(network, network["head"], layers, 16) == {"low": 4, "high": 16}
    assert "1 of 2 layers are too small for rank 16" in caplog.text
    with pytest.raises(GraftError, match=r"finetune\.lora\.rank: is 65, .* a rank over 64\. Lower it"):
        choose_ranks(network, network["head"], layers, 65)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("conv_dw",), r"targets: `conv_dw` is a 3 x 3 convolution in \d+ groups, .* has: .*conv_pw"),
        (("qkv",), r"targets: the backbone has no layer `qkv`\. It has: .*conv_pw"),
    ],
)
def test_targets_that_take_no_adapter_or_do_not_exist_are_refused_with_those_that_do(
    targets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(GraftError, match=message):
        Training(prepared_of("test_efficientnet"), with_lora(targets=targets), Lora())


def test_choices_of_adapters_are_refused_where_none_are_trained() -> None:
    assert Finetune(mode="lora", lora={"rank": 4}).lora.rank == 4
    with pytest.raises(ValueError, match=r"mode: lp-ft trains none\. Set mode: lora, or leave it out"):
        Finetune(mode="lp-ft", lora={"rank": 4})


def test_targets_are_the_only_layers_that_get_adapters() -> None:
    chosen = choose_layers(prepared_of("test_vit").classifier, ("attn.qkv",), 1.0)
    assert {name.split(".", 2)[2] for name in chosen} == {"attn.qkv"}


class Depthwise(nn.Module):
    """A network of timm's kind that has nothing but a depthwise convolution below its head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, groups=3)
        self.head = nn.Linear(3, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pixels).mean((2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.head


def test_a_backbone_without_any_layer_for_an_adapter_is_refused() -> None:
    classifier = ImageClassifier(Depthwise(), Normalisation((0.5,) * 3, (0.5,) * 3))
    with pytest.raises(
        GraftError, match=r"finetune\.mode: lora .* has none below its head\. Use full or lp-ft"
    ):
        choose_layers(classifier, None, 1.0)


def test_a_layer_that_does_not_compute_what_its_matrix_says_takes_no_adapter() -> None:
    from timm.layers import ScaledStdConv2d

    assert takes_adapter(nn.Conv2d(4, 4, 1, stride=2))
    assert not takes_adapter(nn.Conv2d(4, 4, 1, groups=2))
    assert not takes_adapter(nn.Conv2d(4, 4, 1, padding=1))
    assert not takes_adapter(ScaledStdConv2d(4, 4, 1))
    assert not takes_adapter(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))


def test_without_peft_the_error_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(GraftError, match=r"`peft` is needed .* pip install 'graft-ml\[lora\]'"):
        Training(prepared_of("test_vit"), PLAN, Lora())
