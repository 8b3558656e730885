from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from pipeline.errors import GraftError
from pipeline.modalities.image.network import create_network, create_pretrained, describe_input, to_input
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.recipe import Image as ImageSection
from pipeline.modalities.image.recipe import ImageBackbone
from pipeline.modalities.image.sources.torchvision_models import choose
from serving.model.inputs.image.pixels import decode_image

SMALL = "mobilenet_v3_small"


def plain(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.get_model(name, weights=None, **options).eval()


def backbone(name: str, weights: Path | str = "hub") -> ImageBackbone:
    return ImageBackbone(name=f"torchvision:{name}", weights=str(weights))


def save(model: torch.nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("name", [SMALL, "mnasnet0_5", "shufflenet_v2_x0_5"])
def test_create_pretrained_gives_torchvisions_own_answers(tmp_path: Path, name: str) -> None:
    model = plain(name)
    network = create_pretrained(backbone(name, save(model, tmp_path / "w.pth")))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(pictures), model(pictures))
        features = network.forward_head(network.forward_features(pictures), pre_logits=True)
    assert features.shape == (2, network.get_classifier().in_features)


def test_create_pretrained_takes_a_body_whose_head_has_other_classes_or_is_missing(tmp_path: Path) -> None:
    other = plain(SMALL, num_classes=7)
    tensors = other.state_dict()
    whole = create_pretrained(backbone(SMALL, save(other, tmp_path / "other.pth")))
    bare = {name: value for name, value in tensors.items() if not name.startswith("classifier.3.")}
    torch.save(bare, tmp_path / "bare.pth")
    headless = create_pretrained(backbone(SMALL, tmp_path / "bare.pth"))
    for network in (whole, headless):
        assert isinstance(network, PooledNetwork)
        assert torch.equal(network.body.features[0][0].weight, tensors["features.0.0.weight"])
    del bare["features.0.0.weight"]
    torch.save(bare, tmp_path / "less.pth")
    with pytest.raises(GraftError, match=r"`features.0.0.weight` is missing"):
        create_pretrained(backbone(SMALL, tmp_path / "less.pth"))


def test_create_pretrained_of_squeezenet_pools_what_its_convolution_was_given(tmp_path: Path) -> None:
    model = plain("squeezenet1_1")
    network = create_pretrained(backbone("squeezenet1_1", save(model, tmp_path / "w.pth")))
    pictures = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model.features(pictures).mean((2, 3))
        assert torch.allclose(network.forward_features(pictures), expected, atol=1e-6)


def test_create_pretrained_reads_the_names_of_old_files_of_densenet(tmp_path: Path) -> None:
    model = plain("densenet121")
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
        for name, value in model.state_dict().items()
    }
    assert old.keys() != model.state_dict().keys()
    torch.save(old, tmp_path / "w.pth")
    network = create_pretrained(backbone("densenet121", tmp_path / "w.pth"))
    key = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(network.body.state_dict()[key], model.state_dict()[key])


def test_create_pretrained_reads_the_cache_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    weights = models.MobileNet_V3_Small_Weights.DEFAULT
    (tmp_path / "checkpoints").mkdir()
    model = plain(SMALL)
    save(model, tmp_path / "checkpoints" / Path(weights.url).name)
    network = create_pretrained(backbone(SMALL))
    pictures = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(pictures), model(pictures))


def test_create_pretrained_names_the_ways_when_there_is_neither_cache_nor_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(GraftError, match=r"torchvision:mobilenet_v3_small.*urlopen error.*Three ways"):
        create_pretrained(backbone(SMALL))


@pytest.mark.parametrize(
    "name", [SMALL, "inception_v3", "efficientnet_b1", "swin_s", "resnet50.IMAGENET1K_V1"]
)
def test_describe_input_gives_the_pixels_of_torchvisions_own_transforms(name: str) -> None:
    chosen = choose(name)
    pixels = np.random.default_rng(0).integers(0, 256, (150, 211, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    expected = chosen.weights.transforms()(picture)
    network = torch.nn.Identity()
    network.pretrained_cfg = chosen.config()
    spec, normalisation = describe_input(network, ImageSection(resizer="pillow"))
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    given = to_input(torch.from_numpy(decode_image(buffer.getvalue(), spec))[None], normalisation)[0]
    assert torch.allclose(given, expected, atol=1e-5)


def test_create_network_names_the_way_of_a_saved_model() -> None:
    with pytest.raises(GraftError, match=r"tfhub: is no source.*save_weights"):
        create_network("tfhub:https://example.org/net")


def test_create_network_lists_near_names_and_sets_of_weights_when_there_is_none() -> None:
    with pytest.raises(GraftError, match=r"torchvision has no `resnet51`.*resnet50"):
        create_network("torchvision:resnet51")
    with pytest.raises(GraftError, match=r"no weights `V9` for resnet50; it has IMAGENET1K_V1"):
        create_network("torchvision:resnet50.V9")


def test_create_network_makes_a_vision_transformer_for_another_size(tmp_path: Path) -> None:
    from pipeline.modalities.image.sources import torchvision_models

    # A vision transformer of one layer, in place of twelve.
    small = models.VisionTransformer(64, 32, 1, 2, 16, 32)
    tensors = dict(small.state_dict())
    larger = models.VisionTransformer(96, 32, 1, 2, 16, 32)
    resampled = torchvision_models._resampled(larger, dict(tensors))
    assert resampled["encoder.pos_embedding"].shape == larger.state_dict()["encoder.pos_embedding"].shape
    assert choose("vit_b_32", 96).config()["input_size"] == (3, 96, 96)
    assert choose("resnet50", 96).config()["input_size"] == (3, 224, 224)


@pytest.mark.parametrize(
    ("name", "size_px", "taken"),
    [("vit_b_16", 225, "224 and 240"), ("vit_b_16", 17, "16, 32 and 224"), ("vit_l_32", 9, "32 and 224")],
)
def test_create_pretrained_names_sizes_near_one_that_patches_do_not_divide(
    tmp_path: Path, name: str, size_px: int, taken: str
) -> None:
    torch.save({"x": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(GraftError, match=rf"image\.size: {size_px}, which.*It takes {taken}\.$"):
        create_pretrained(backbone(name, tmp_path / "w.pth"), size_px)
