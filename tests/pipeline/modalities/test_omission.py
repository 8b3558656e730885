from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan, Rates
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.modes import train_mode
from pipeline.finetune.strategies.omission import set_omissions
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from tests.chance import global_chance
from tests.families import build_encoder, builder_of, feeds_of, prepared_of
from tests.kinds.rows.training import RowClassifier


def plan_with(**changes: float) -> Plan:
    return Plan(epochs=1, batch_size=8, rates=Rates(1e-3), **changes)


def meta_network(name: str) -> ImageClassifier:
    with torch.device("meta"):
        return ImageClassifier(timm.create_model(name), Normalisation((0.5,) * 3, (0.5,) * 3))


@pytest.mark.parametrize(
    "family", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "bert", "gpt2"]
)
def test_dropout_leaves_out_that_share_of_the_features_in_training_and_nothing_otherwise(family: str) -> None:
    classifier = prepared_of(family).classifier
    with global_chance() as is_as_before:
        set_omissions(classifier, plan_with(dropout=0.25))
        assert is_as_before()
    head = classifier.saved().get_submodule(classifier.head_name())
    seen: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    feeds = feeds_of(family)
    with torch.no_grad():
        classifier.saved().eval()
        classifier(**feeds)
        train_mode(classifier.saved(), freeze_batch_norm=True)
        classifier(**feeds)
    zeros = [float((features == 0).float().mean()) for features in seen]
    spread = 4 * math.sqrt(0.25 * 0.75 / seen[0].numel())
    assert zeros[1] - zeros[0] == pytest.approx(0.25 * (1 - zeros[0]), abs=spread)


def test_drop_path_rises_from_block_to_block_as_timm_has_it() -> None:
    for name in ("test_resnet", "test_vit", "test_efficientnet", "test_convnext"):
        classifier = meta_network(name)
        set_omissions(classifier, plan_with(drop_path=0.2))
        with torch.device("meta"):
            expected = timm.create_model(name, drop_path_rate=0.2)

        def rates(network: nn.Module) -> dict[str, float]:
            return {
                path: part.drop_prob
                for path, part in network.named_modules()
                if type(part).__name__ == "DropPath"
            }

        assert rates(classifier.network) == rates(expected) != {}
        set_omissions(classifier, plan_with(drop_path=0.0))
        assert not any(rates(classifier.network).values())


def test_neither_is_in_the_network_that_is_saved() -> None:
    plain = builder_of("test_vit")()
    training = Training(prepared_of("test_vit"), plan_with(dropout=0.5, drop_path=0.3), Full(head_first=True))
    training.run_epoch(1)
    plain.saved().load_state_dict(training.strategy.state(training.classifier), strict=True)
    assert all(getattr(part, "drop_prob", 0) == 0 for part in plain.saved().modules())
    assert copy.deepcopy(plain) is not None


@pytest.mark.parametrize(
    ("classifier", "changes", "message"),
    [
        (
            lambda: meta_network("vgg11"),
            {"drop_path": 0.1},
            r"finetune\.drop_path: timm's VGG has no stochastic",
        ),
        (
            lambda: build_encoder("bert"),
            {"drop_path": 0.1},
            r"finetune\.drop_path: BertModel has no stochastic",
        ),
        (lambda: RowClassifier(4, 4, 2), {"dropout": 0.1}, r"finetune\.dropout: networks of this kind have"),
    ],
)
def test_a_network_that_has_no_such_thing_is_refused_by_the_key(
    classifier: object, changes: dict[str, float], message: str
) -> None:
    with pytest.raises(GraftError, match=message):
        set_omissions(classifier(), plan_with(**changes))


def test_drop_path_of_an_encoder_is_its_layerdrop_where_it_has_one() -> None:
    classifier = build_encoder("opt")
    set_omissions(classifier, plan_with(drop_path=0.2))
    assert classifier.encoder.decoder.layerdrop == 0.2
