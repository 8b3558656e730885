from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.modalities.layers import depths_by_structure, rate_groups
from pipeline.modalities.text.network import TextClassifier
from pipeline.modalities.training import Classifier
from tests.families import build_encoder

RATE, DECAY = 1e-3, 0.5
# The number of groups that each network has, and a beginning of the lowest and the highest one's names.
PICTURES = {
    "resnet18": (10, "conv1", "fc"),
    "vgg11": (9, "features.0", "head.fc"),
    "inception_v3": (14, "Conv2d_1a", "fc"),
    "efficientnet_lite0": (18, "conv_stem", "classifier"),
    "convnext_atto": (14, "stem", "head.fc"),
    "vit_tiny_patch16_224": (14, "patch_embed", "head"),
    # timm declares no groups of this one, so that its own structure counts.
    "pit_ti_224": (5, "patch_embed", "head"),
}
TEXTS = {
    "bert": (5, "encoder.embeddings", "head"),
    "roberta": (5, "encoder.embeddings", "head"),
    "albert": (3, "encoder.encoder.embedding_hidden_mapping_in", "head"),
    "gpt2": (5, "encoder.wpe", "encoder.ln_f"),
    "distilbert": (5, "encoder.embeddings", "head"),
    "electra": (5, "encoder.embeddings_project", "head"),
    "deberta-v2": (5, "encoder.encoder.rel_embeddings", "head"),
    "modernbert": (5, "encoder.embeddings.norm", "encoder.final_norm"),
    # It declares its last norm and projection before its layers.
    "opt": (5, "encoder.decoder.project_in", "encoder.decoder.final_layer_norm"),
    # Its layers are lists side by side: attentions, norms and so on.
    "xlm": (5, "encoder.layer_norm_emb", "head"),
}


def picture_network(name: str) -> ImageClassifier:
    # Without memory for the weights, unless the network has to run to show its structure.
    with torch.device("cpu" if name.startswith("pit") else "meta"):
        network = timm.create_model(name, num_classes=3)
    return ImageClassifier(network, Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


def check_rates(classifier: Classifier, count: int, lowest: str, highest: str) -> None:
    """Each parameter is in one group, and the rates fall evenly from the head to the embeddings."""
    groups = classifier.parameter_groups(RATE, DECAY, 0.1)
    module = classifier.saved()
    held = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, module.parameters()))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    by_name = {name: rates[id(parameter)] for name, parameter in module.named_parameters()}
    distinct = sorted(set(by_name.values()))
    for rate in distinct:
        names = [name for name, of_name in by_name.items() if of_name == rate]
        print(f"  {rate:.2e}  {len(names):3d}, from {names[0]} to {names[-1]}")  # noqa: T201 - with -s
    assert distinct == pytest.approx([RATE * DECAY**depth for depth in reversed(range(count))])
    for name, rate in by_name.items():
        if name.startswith(lowest):
            assert rate == distinct[0], name
        if name.startswith((highest, "head.weight", "head.bias")):
            assert rate == RATE, name
    assert any(name.startswith(lowest) for name in by_name)
    assert any(name.startswith(highest) for name in by_name)
    decays = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            plain = name == "bias" or parameter.ndim <= 1 or "Norm" in type(part).__name__
            assert not (plain and id(parameter) in decays), f"{path}.{name}"


@pytest.mark.parametrize("name", PICTURES)
def test_each_group_of_a_picture_network_has_its_rate(name: str) -> None:
    print(f"\n{name}")  # noqa: T201 - with -s
    check_rates(picture_network(name), *PICTURES[name])


@pytest.mark.parametrize("kind", TEXTS)
def test_each_layer_of_an_encoder_has_its_rate(kind: str) -> None:
    print(f"\n{kind}")  # noqa: T201 - with -s
    torch.manual_seed(0)
    classifier = build_encoder(kind).train()
    chance = torch.random.get_rng_state()
    check_rates(classifier, *TEXTS[kind])
    assert all(part.training for part in classifier.modules())
    assert torch.equal(torch.random.get_rng_state(), chance)


def test_positions_have_no_weight_decay_where_timm_says_so() -> None:
    classifier = picture_network("vit_tiny_patch16_224")
    groups = classifier.parameter_groups(RATE, 1.0, 0.1)
    names = {id(parameter): name for name, parameter in classifier.saved().named_parameters()}
    plain = {names[id(p)] for group in groups if not group["weight_decay"] for p in group["params"]}
    assert {"pos_embed", "cls_token", "norm.weight", "head.bias"} <= plain
    assert "blocks.0.attn.qkv.weight" not in plain
    assert picture_network("swin_s3_tiny_224").undecayed() >= {
        "layers.0.blocks.0.attn.relative_position_bias_table"
    }


class Unnumbered(nn.Module):
    """An encoder whose layers have names, and are declared in another order than they run."""

    class config:  # noqa: N801 - as transformers has it
        hidden_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 8)
        self.first = nn.Linear(8, 8)
        self.embeddings = nn.Embedding(100, 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.second(self.first(self.embeddings(input_ids))))
        return type("Output", (), {"last_hidden_state": hidden})


def test_an_encoder_without_numbered_layers_is_grouped_by_its_modules_as_they_run() -> None:
    classifier = TextClassifier(Unnumbered(), "mean", 2)
    names = [name for name, _ in classifier.named_parameters()]
    depths = classifier.depths(names)
    order = ("encoder.embeddings", "encoder.first", "encoder.second", "encoder.norm", "head")
    assert {name.rpartition(".")[0]: depth for name, depth in depths.items()} == {
        name: depth for depth, name in enumerate(order)
    }


def test_a_network_that_cannot_be_run_is_grouped_in_the_order_of_its_modules() -> None:
    network = nn.ModuleDict({"low": nn.Linear(2, 2), "high": nn.Linear(2, 2), "head": nn.Linear(2, 2)})

    def fail() -> None:
        raise RuntimeError("no such input")

    depths = depths_by_structure(network, ["high.weight", "low.weight", "head.weight"], "head", fail)
    assert depths == {"low.weight": 0, "high.weight": 1, "head.weight": 2}


def test_rate_groups_holds_only_what_it_is_given_and_counts_depths_from_the_top_of_all() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    groups = rate_groups([("low", weight)], {"low": 1, "head": 3}, (1.0, 0.5, 0.1))
    assert [(group["lr"], group["weight_decay"], group["depth"]) for group in groups] == [(0.25, 0.1, 1)]
