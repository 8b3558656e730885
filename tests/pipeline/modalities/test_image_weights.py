from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.network import create_network, create_pretrained, describe_input, to_input
from pipeline.modalities.image.recipe import Image as ImageSection
from pipeline.modalities.image.recipe import ImageBackbone
from pipeline.modalities.image.weights import fit_weights, read_weights
from pipeline.modalities.tensors import hash_tensors
from pipeline.recipe.reading import load_recipe
from serving.model.inputs.image.pixels import decode_image
from tests.conftest import ROOT, TINY

SOLAR_CELLS = ROOT / "examples" / "solar-cells" / "recipe.yaml"
# The indices of ImageNet-1k's domestic cats: tabby, tiger cat, Persian, Siamese, Egyptian.
CATS = {281, 282, 283, 284, 285}


def test_pretrained_backbone_knows_a_real_cat_when_weights_come_from_another_implementation() -> None:
    from skimage import data

    model = create_pretrained(load_recipe(SOLAR_CELLS).backbone)
    spec, normalisation = describe_input(model, ImageSection())
    import io

    buffer = io.BytesIO()
    Image.fromarray(data.chelsea()).save(buffer, "PNG")
    pixels = torch.from_numpy(decode_image(buffer.getvalue(), spec))[None]
    with torch.inference_mode():
        probabilities = model(to_input(pixels, normalisation)).softmax(dim=1)[0]
    assert int(probabilities.argmax()) in CATS
    assert probabilities[list(CATS)].sum() > 0.8


def test_fit_weights_takes_every_tensor_of_the_other_implementation() -> None:
    backbone = load_recipe(SOLAR_CELLS).backbone
    theirs = [
        value
        for name, value in read_weights(backbone.weights).items()
        if not name.endswith("num_batches_tracked")
    ]
    ours = [
        value
        for name, value in create_pretrained(backbone).state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    assert len(theirs) == len(ours) == 247
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
    )


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        f"their_{index:03d}.{name.rpartition('.')[2]}": value
        for index, (name, value) in enumerate(tensors.items())
    }


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_fit_weights_by_order_refuses_when_two_unlike_tensors_are_swapped(data: st.DataObject) -> None:
    tensors = list(renamed(small().state_dict()).items())
    i, j = data.draw(st.integers(0, len(tensors) - 1)), data.draw(st.integers(0, len(tensors) - 1))
    tensors[i], tensors[j] = tensors[j], tensors[i]
    (name_i, a), (name_j, b) = tensors[i], tensors[j]
    alike = a.shape == b.shape and name_i.rpartition(".")[2] == name_j.rpartition(".")[2]
    if alike or "num_batches_tracked" in name_i + name_j:
        return  # two tensors of one kind and shape cannot be told apart; the test with the cat is for that
    with pytest.raises(GraftError, match="stands where the network has"):
        fit_weights(small(), dict(tensors), "order", "x.pth")


def test_read_weights_refuses_an_order_that_the_file_does_not_keep(tiny_weights: Path) -> None:
    with pytest.raises(GraftError, match="does not keep its tensors"):
        read_weights(str(tiny_weights), "order")


def test_fit_weights_refuses_when_anything_is_missing_left_over_or_misshapen() -> None:
    tensors = dict(small().state_dict())
    tensors["extra"] = tensors.pop("0.bias")
    tensors["4.weight"] = torch.zeros(5, 4)
    with pytest.raises(GraftError) as refused:
        fit_weights(small(), tensors, "names", "x.pth")
    for words in (
        "`0.bias` is missing",
        "`extra` is not in the network",
        "`4.weight` is (5, 4), the network's (2, 4)",
        "x.pth",
    ):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(4, 3, 3, 3, dtype=torch.int8), "`0.weight` is of type int8"),
        (torch.ones(4, 3, 3, 3, dtype=torch.complex64), "`0.weight` is of type complex64"),
        (torch.ones(4, 3, 3, 3).to(torch.float8_e4m3fn), "`0.weight` is of type float8_e4m3fn"),
        (torch.full((4, 3, 3, 3), float("nan")), "`0.weight` is not finite in float32"),
        (torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64), "`0.weight` is not finite in float32"),
    ],
)
def test_fit_weights_refuses_values_that_are_no_finite_floats(value: torch.Tensor, words: str) -> None:
    tensors = small().state_dict() | {"0.weight": value}
    with pytest.raises(GraftError, match=words):
        fit_weights(small(), tensors, "names", "x.pth")


def test_fit_weights_takes_halves_and_a_networks_own_integers_and_masks() -> None:
    def masked() -> nn.Module:
        model = small()
        model.register_buffer("index", torch.arange(3))
        model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        return model

    model = masked()
    tensors = masked().half().state_dict()
    fit_weights(model, tensors, "names", "x.pth")
    assert torch.equal(model.state_dict()["0.weight"], tensors["0.weight"].float())


def test_fit_weights_changes_nothing_when_it_refuses() -> None:
    model = small()
    before = hash_tensors(model.state_dict())
    with pytest.raises(GraftError, match="tensors"):
        fit_weights(model, dict(list(renamed(small().state_dict()).items())[:-1]), "order", "x.pth")
    assert hash_tensors(model.state_dict()) == before


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04cos\nsystem\n(S'echo'\ntR."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_read_weights_refuses_when_the_file_is_none(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(GraftError, match=r"cannot be read as weights.*Three ways"):
        read_weights(str(path))


def test_read_weights_runs_no_code_of_the_file(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(GraftError):
        read_weights(str(tmp_path / "w.pth"))
    assert not (tmp_path / "executed").exists()


def test_create_pretrained_names_the_three_ways_when_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(GraftError) as refused:
        create_pretrained(ImageBackbone(name="resnet18"))
    for way in ("weights: hub", ".safetensors", "package:NAME/PATH", "resnet18"):
        assert way in str(refused.value)


def test_create_pretrained_reads_the_hub_from_a_local_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    weights = make_hub_cache(tmp_path, TINY)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = create_pretrained(ImageBackbone(name=TINY))
    assert hash_tensors(model.state_dict()) == hash_tensors(weights)


def make_hub_cache(cache: Path, name: str) -> dict[str, torch.Tensor]:
    """A cache in the hub's layout with the weights of one of timm's networks."""
    torch.manual_seed(3)
    model = timm.create_model(name)
    repository = cache / ("models--" + model.pretrained_cfg["hf_hub_id"].replace("/", "--"))
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, snapshot / "model.safetensors")
    return weights


def test_create_pretrained_lists_near_names_when_timm_has_none() -> None:
    with pytest.raises(GraftError, match=r"timm has no `resnet18x`"):
        create_pretrained(ImageBackbone(name="resnet18x", weights="hub"))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("restnet18", "resnet18"),
        ("efficentnet_b0", "efficientnet_b0"),
        ("RESNET18", "resnet18"),
        ("timm/resnet18", "resnet18"),
        ("resnet-18", "resnet18"),
        ("restnet18.a1_in1k", "resnet18.a1_in1k"),
        ("vit_base_patch_16", "vit_base_patch16_224"),
    ],
)
def test_create_network_names_first_what_a_slip_of_the_pen_meant(name: str, near: str) -> None:
    with pytest.raises(GraftError) as refused:
        create_network(name)
    first = str(refused.value).partition("Near it: ")[2].partition(";")[0].split(", ")
    assert first[0] == near


def test_create_network_lists_the_tags_that_an_architecture_has() -> None:
    for name in ("resnet18.a1_in2k", "timm/resnet18.a1_in2k"):
        with pytest.raises(GraftError, match=r"no weights `a1_in2k` for resnet18\. It has a1_in1k, "):
            create_network(name)
    with pytest.raises(GraftError, match="Near it: nothing"):
        create_network("qqqq")


@pytest.mark.parametrize("name", ["mlp_head", "new_fc", "proj", "my.1"])
def test_a_linear_layer_on_the_features_is_a_head_whatever_its_name(name: str) -> None:
    network = timm.create_model(TINY)
    head = {f"{name}.{key.rpartition('.')[2]}": key for key in ("fc.weight", "fc.bias")}
    state = network.state_dict()
    body = {key: value for key, value in state.items() if not key.startswith("fc.")}
    loaded = timm.create_model(TINY)
    fit_weights(loaded, body | {new: state[old] for new, old in head.items()}, "names", "x.pth")
    assert hash_tensors(loaded.state_dict()) == hash_tensors(state)
    fit_weights(loaded, body | {f"{name}.weight": state["fc.weight"][:3]}, "names", "x.pth")
    assert not loaded.state_dict()["fc.weight"].any()
    with pytest.raises(GraftError, match=rf"`{name}.weight` is not in the network"):
        fit_weights(loaded, body | {f"{name}.weight": state["fc.weight"][:, 1:]}, "names", "x.pth")
