"""Networks with unusual heads, shapes or sizes, cut small: each trains a linear head, or is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import mlp_mixer, volo
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image import training
from pipeline.modalities.image.linear_heads import with_linear_head
from pipeline.modalities.image.network import ImageClassifier, create_pretrained, describe_input
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.positions import resample_positions
from pipeline.modalities.image.recipe import Image, ImageBackbone, ImageRecipe
from pipeline.modalities.image.sources import timm_models
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Pretrained
from serving.model.inputs.image.spec import ImageInputSpec
from tests.conftest import TINY

VIT = "test_vit"
SMALL_VOLO = {"layers": (1, 1, 1, 1), "embed_dims": (24, 48, 48, 48), "num_heads": (2, 4, 4, 4)}
SMALL_MIXER = {"patch_size": 32, "num_blocks": 1, "embed_dim": 32}
ODD: dict[str, tuple[str, int, dict[str, object]]] = {
    "two heads": ("deit_tiny_distilled_patch16_224", 224, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "norm in the head": ("levit_128s", 224, {"depth": (1, 1, 1)}),
    "a head for each branch": ("crossvit_tiny_240", 240, {}),
    "two heads, NCHW": ("efficientformerv2_s0", 224, {}),
    "an auxiliary head": ("volo_d1_224", 224, SMALL_VOLO),
    "a convolution": ("dla46x_c", 64, {}),
    "a layer of its own": ("cpubone_nano", 64, {}),
    "norm before the layer": ("efficientvit_m0", 224, {}),
}  # fmt: skip
PLAIN: dict[str, tuple[str, int, dict[str, object]]] = {
    "NHWC": ("test_mambaout", 64, {}),
    "hidden layer before the head": ("mobilenetv3_small_050", 64, {}),
    "mixer": ("mixer_s32_224", 224, SMALL_MIXER),
    "no classifier": (VIT, 160, {"num_classes": 0}),
}


def spec_of(side: int) -> ImageInputSpec:
    return ImageInputSpec(height=side, width=side)


def cut(name: str, arguments: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    # The named functions of these two take no arguments that cut them.
    own = {"volo_d1_224": volo._create_volo, "mixer_s32_224": mlp_mixer._create_mixer}
    network: nn.Module = own[name](name, **arguments) if name in own else timm.create_model(name, **arguments)
    return network.eval()


def require_linear(classifier: ImageClassifier, side: int) -> None:
    """The logits are those of the head that is set, all parameters train, and their layers are in groups."""
    image = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = classifier.embed(image)
    assert features.ndim == 2
    weight = np.random.default_rng(0).normal(size=(3, features.shape[1])).astype(np.float32)
    bias = np.arange(3, dtype=np.float32)
    classifier.set_head(weight, bias)
    with torch.no_grad():
        logits = classifier(image)
    expected = features @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    assert torch.allclose(logits, expected, atol=1e-3 * float(expected.abs().max()))
    module = classifier.saved().train()
    classifier(image).square().sum().backward()
    names = [name for name, _ in module.named_parameters()]
    assert [name for name, value in module.named_parameters() if value.grad is None] == []
    depths = classifier.depths(names)
    assert max(depths.values()) >= 2
    head = classifier.head_name()
    assert {depths[name] for name in names if name.startswith(f"{head}.")} == {max(depths.values())}


@pytest.mark.parametrize("kind", ODD)
def test_a_head_that_is_not_one_linear_layer_is_replaced_by_one(kind: str) -> None:
    name, side, arguments = ODD[kind]
    network = cut(name, arguments)
    whole = with_linear_head(network, spec_of(side))
    assert isinstance(whole, PooledNetwork)
    _, normalisation = describe_input(network, Image())
    classifier = ImageClassifier(whole.eval(), normalisation)
    require_linear(classifier, side)
    classifier.set_dropout(0.5)
    assert whole.dropout.p == 0.5


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_head_stays_and_so_do_its_names(kind: str) -> None:
    name, side, arguments = PLAIN[kind]
    network = cut(name, arguments)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert with_linear_head(network, spec_of(side)) is network
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in before.items())
    _, normalisation = describe_input(network, Image())
    require_linear(ImageClassifier(network, normalisation), side)


def test_a_network_that_gives_no_features_is_refused() -> None:
    with pytest.raises(GraftError, match=r"backbone\.name: Linear gives no features"):
        with_linear_head(nn.Linear(1, 1), spec_of(16))


def test_a_size_that_a_network_cannot_take_is_refused_with_those_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timm_models, "_takes", lambda _, size: size == 256)
    with pytest.raises(
        GraftError, match=r"image\.size: ByobNet cannot take pictures of 100 .* It takes .*256"
    ):
        with_linear_head(cut("halonet_h1", {}), spec_of(100))


def load(name: str, tensors: dict[str, torch.Tensor], folder: Path, size: int | None = None) -> Pretrained:
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / "w.safetensors")
    recipe = {
        "name": "x",
        "data": {"source": "none"},
        "backbone": {"name": name, "weights": str(folder / "w.safetensors")},
        "image": {"size": size},
    }
    return training.load_pretrained(ImageRecipe.model_validate(recipe))


def rebuild(pretrained: Pretrained) -> ImageClassifier:
    """The network that a checkpoint's card builds, with the state that would be saved."""
    card = json.loads(json.dumps(pretrained.network))
    rebuilt = training.build_classifier(card, 3)
    width = pretrained.classifier.embed(
        torch.zeros(1, pretrained.input.height, pretrained.input.width, 3)
    ).shape[1]
    pretrained.classifier.set_head(np.ones((3, width), np.float32), np.zeros(3, np.float32))
    rebuilt.saved().load_state_dict(pretrained.classifier.saved().state_dict())
    rebuilt.saved().eval()
    return rebuilt


def test_cards_of_plain_networks_are_as_they_always_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = timm.create_model(TINY).state_dict()
    pretrained = load(TINY, tensors, tmp_path, size=64)
    assert set(pretrained.network) == {"architecture", "mean", "std"}
    assert pretrained.weights_sha256 == hash_tensors(tensors)
    assert rebuild(pretrained).saved().state_dict().keys() == tensors.keys()


def test_the_card_of_a_replaced_head_builds_the_network_again(tmp_path: Path) -> None:
    pretrained = load("efficientvit_m0", cut("efficientvit_m0", {}).state_dict(), tmp_path)
    assert pretrained.network["head"] == "pooled"
    image = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(rebuild(pretrained)(image), pretrained.classifier(image=image))
    assert load("efficientvit_m0", cut("efficientvit_m0", {}).state_dict(), tmp_path).weights_sha256 == (
        pretrained.weights_sha256
    )


@pytest.mark.parametrize("size", [64, 160, 240])
def test_a_vision_transformer_is_made_for_the_recipes_size(size: int, tmp_path: Path) -> None:
    from timm.layers import resample_abs_pos_embed

    network = cut(VIT, {})
    pretrained = load(VIT, network.state_dict(), tmp_path, size)
    assert (pretrained.network.get("size_px"), pretrained.input.height) == (
        None if size == 160 else size,
        size,
    )
    side = size // 16
    expected = resample_abs_pos_embed(network.pos_embed, [side, side], num_prefix_tokens=1, verbose=False)
    assert torch.allclose(pretrained.classifier.saved().pos_embed, expected, atol=1e-6)
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    rebuilt = rebuild(pretrained)
    with torch.no_grad():
        assert torch.equal(rebuilt(image), pretrained.classifier(image=image))
    assert len(set(rebuilt.depths([name for name, _ in rebuilt.network.named_parameters()]).values())) > 3


def test_relative_positions_are_resampled_as_timm_does(tmp_path: Path) -> None:
    arguments = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 1, 2, 2)}
    name, size = "swin_tiny_patch4_window7_224", 64
    network = cut(name, arguments)
    from pipeline.modalities.image.weights import fit_weights

    smaller = timm.create_model(name, img_size=size, **arguments)
    fit_weights(smaller, network.state_dict(), "names", "x")
    reference = timm.create_model(
        name,
        img_size=size,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": dict(network.state_dict())},
        **arguments,
    )
    assert hash_tensors(smaller.state_dict()) == hash_tensors(reference.state_dict())
    shapes = [value.shape for key, value in smaller.state_dict().items() if "bias_table" in key]
    assert shapes != [value.shape for key, value in network.state_dict().items() if "bias_table" in key]


def test_other_sizes_of_a_vision_transformer_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"image\.size: .*70.* It takes 64, 80 and 160\.$"):
        load(VIT, cut(VIT, {}).state_dict(), tmp_path, 70)


def test_positions_that_cannot_be_resampled_are_refused_with_the_own_size(tmp_path: Path) -> None:
    name = "levit_128s"
    with pytest.raises(GraftError, match=r"image\.size: 192, .* cannot be resampled\. It takes 224\.$"):
        load(name, cut(name, {}).state_dict(), tmp_path, 192)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1, 196, 8), (1, 64, 8)),
        ((1, 197, 8), (1, 65, 8)),
        ((1, 198, 8), (1, 66, 8)),
        ((1, 14, 14, 8), (1, 8, 8, 8)),
        ((1, 6, 14, 14), (1, 6, 8, 8)),
    ],
)
def test_positions_on_a_grid_are_resampled_and_tokens_before_it_are_not(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    wanted = {"pos_embed_0": torch.zeros(after), "norm.weight": torch.zeros(3)}
    given = {"pos_embed_0": torch.rand(before), "norm.weight": torch.rand(4)}
    made = resample_positions(wanted, given)
    assert made["pos_embed_0"].shape == after
    assert made["norm.weight"] is given["norm.weight"]
    tokens = {197: 1, 198: 2}.get(before[1], 0)
    assert all(
        torch.equal(made["pos_embed_0"][:, token], given["pos_embed_0"][:, token]) for token in range(tokens)
    )
    constant = resample_positions(wanted, {"pos_embed_0": torch.ones(before)})["pos_embed_0"]
    assert torch.allclose(constant, torch.ones(after), atol=1e-5)


def test_weights_that_do_not_fit_at_any_size_are_refused_as_such(tmp_path: Path) -> None:
    tensors = cut(VIT, {}).state_dict()
    tensors["blocks.0.mlp.fc1.weight"] = torch.ones(3, 3)
    with pytest.raises(GraftError, match=r"backbone\.weights: .*`blocks\.0\.mlp\.fc1\.weight` is \(3, 3\)"):
        load(VIT, tensors, tmp_path, 64)


def test_what_is_left_over_is_not_lost_in_a_conversion(tmp_path: Path) -> None:
    tensors = cut(VIT, {}).state_dict() | {"blocks.99.norm1.weight": torch.ones(64)}
    for size in (None, 64):
        with pytest.raises(GraftError, match=r"backbone\.weights: .*`blocks\.99\.norm1\.weight` is not in"):
            load(VIT, tensors, tmp_path, size)


def test_patches_are_never_resampled_in_silence(tmp_path: Path) -> None:
    tensors = cut(VIT, {}).state_dict()
    tensors["patch_embed.proj.weight"] = torch.ones(64, 3, 14, 14)
    with pytest.raises(GraftError, match=r"`patch_embed\.proj\.weight` is \(64, 3, 14, 14\)"):
        load(VIT, tensors, tmp_path)


def hub_cache(
    cache: Path, repository: str, config: dict[str, object], tensors: dict[str, torch.Tensor]
) -> None:
    """Write a network of the hub into a cache of its layout."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file(
        {key: value.contiguous().clone() for key, value in tensors.items()}, snapshot / "model.safetensors"
    )


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_names_of_the_hub_work_from_its_cache_and_the_card_needs_no_hub(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = cut(VIT, {"img_size": 96, "num_classes": 5, "depth": 2})
    config = {
        "architecture": VIT,
        "num_classes": 5,
        "model_args": {"img_size": 96, "depth": 2},
        "pretrained_cfg": {
            "input_size": [3, 96, 96],
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "fixed_input_size": True,
        },
    }
    hub_cache(offline, "someone/cells", config, network.state_dict())
    recipe = {"name": "x", "data": {"source": "none"}, "backbone": {"name": "hf-hub:someone/cells"}}
    pretrained = training.load_pretrained(ImageRecipe.model_validate(recipe))
    assert hash_tensors(pretrained.classifier.saved().state_dict()) == hash_tensors(network.state_dict())
    assert pretrained.network["architecture"] == VIT
    assert (pretrained.network["size_px"], pretrained.network["arguments"]) == (96, {"depth": 2})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    rebuild(pretrained)


@pytest.mark.parametrize("name", ["hf-hub:someone/else", "hf-hub:no", "hf-hub:", "hf-hub:a/b/c@d@e"])
def test_names_of_the_hub_offline_are_one_clear_error(name: str, offline: Path) -> None:
    assert not offline.exists()
    with pytest.raises(GraftError) as refused:
        create_pretrained(ImageBackbone(name=name))
    message = str(refused.value)
    assert message.startswith("backbone.")
    assert name in message
    assert "\n" not in message
    assert "\x1b" not in message
