from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.modalities.image.network import create_network, create_pretrained
from pipeline.modalities.image.recipe import ImageBackbone, ImageRecipe
from pipeline.modalities.image.training import build_classifier, load_pretrained
from pipeline.recipe.reading import load_recipe, without_places

HUBCONF = """
import torch
from torch import nn

print("a line that is no result")


class Small(nn.Module):
    def __init__(self, after=None):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 5)
        self.after = after

    def forward(self, x):
        x = self.fc(self.features(x).mean((2, 3)))
        return x if self.after is None else self.after(x)


def small(pretrained=False):
    model = Small()
    if pretrained:
        generator = torch.Generator().manual_seed(0)
        for value in model.parameters():
            value.data = torch.randn(value.shape, generator=generator)
    return model


def liar(pretrained=False):
    return Small()


def bare():
    return Small()


def headless():
    model = Small()
    model.fc = nn.Identity()
    return model


def soft():
    return Small(nn.Softmax(1))


def maps():
    return Small().features


def two_in_training():
    class Two(Small):
        def forward(self, x):
            return (super().forward(x), x) if self.training else super().forward(x)

    return Two()


def one_size():
    model = Small()
    model.features.append(nn.AdaptiveAvgPool2d(1))
    model.features.append(nn.Flatten())
    model.features.insert(0, OnlyOf(96))
    return nn.Sequential(model.features, model.fc)


class OnlyOf(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        assert x.shape[-1] == self.size, f"this takes {self.size} pixels"
        return x


def number():
    return 7


def leaves(pretrained=False):
    raise SystemExit(2)


def away(pretrained=False):
    if pretrained:
        raise OSError("no route to host")
    return Small()


def part(pretrained=False):
    return Small().state_dict()


def broken():
    raise RuntimeError("line one\\nline two")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


def backbone(checkout: Path, entry: str, weights: Path | str = "hub") -> ImageBackbone:
    return ImageBackbone(name=f"hub:{checkout}:{entry}", weights=str(weights))


def test_create_pretrained_replaces_the_last_linear_layer_and_keeps_its_values(
    checkout: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "graft")
    network = create_pretrained(backbone(checkout, "small"))
    expected = torch.hub.load(str(checkout), "small", source="local", pretrained=True).eval()
    capsys.readouterr()
    pictures = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.equal(network(pictures), expected(pictures))
        assert network.forward_features(pictures).shape == (2, 8)
    assert "assumed to take pictures of 224 pixels" in caplog.text


def test_create_pretrained_prints_nothing_of_the_folders_code(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_pretrained(backbone(checkout, "small"))
    assert capsys.readouterr().out == ""


def test_create_pretrained_reads_a_file_for_an_entry_without_pretrained(checkout: Path) -> None:
    model = torch.hub.load(str(checkout), "bare", source="local").eval()
    torch.save(model.state_dict(), checkout / "w.pth")
    network = create_pretrained(backbone(checkout, "bare", checkout / "w.pth"))
    pictures = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.equal(network(pictures), model(pictures))


def test_a_network_without_a_head_gives_its_outputs_as_features(checkout: Path) -> None:
    network = create_network(f"hub:{checkout}:headless", classes=3)
    with torch.inference_mode():
        assert network.eval()(torch.randn(2, 3, 40, 40)).shape == (2, 3)
        assert network.forward_features(torch.randn(2, 3, 40, 40)).shape == (2, 8)


def test_create_network_takes_the_first_size_that_a_network_runs_at(checkout: Path) -> None:
    network = create_network(f"hub:{checkout}:one_size")
    assert network.pretrained_cfg["input_size"] == (3, 96, 96)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("soft", "changes what its last linear layer `fc` gives"),
        ("maps", r"returns float32 of shape \(2, 8, 111, 111\)"),
        ("two_in_training", "returns tuple while it trains"),
        ("number", "returns int, which is no torch.nn.Module"),
        ("broken", r"did not give a network \(line one\)"),
        ("leaves", r"did not give a network \(it exits, with `2`\)"),
        ("smal", "has no entry `smal`. It has small"),
    ],
)
def test_create_network_refuses_in_one_line(checkout: Path, entry: str, reason: str) -> None:
    with pytest.raises(GraftError, match=reason) as refused:
        create_network(f"hub:{checkout}:{entry}")
    assert "\n" not in str(refused.value)


def test_create_pretrained_refuses_weights_that_are_random_or_cannot_be_asked_for(checkout: Path) -> None:
    with pytest.raises(GraftError, match=r"gives `features.0.weight` other values each time"):
        create_pretrained(backbone(checkout, "liar"))
    with pytest.raises(GraftError, match="an argument `pretrained`, which bare"):
        create_pretrained(backbone(checkout, "bare"))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("leaves", r"backbone\.name: .*leaves did not give a network \(it exits, with `2`\)"),
        ("part", r"backbone\.name: .*part did not give a network \(it returns OrderedDict"),
        ("away", r"backbone\.weights: the entry's own code did not give .*no route to host.*TORCH_HOME"),
    ],
)
def test_create_pretrained_says_what_an_entry_did(checkout: Path, entry: str, reason: str) -> None:
    with pytest.raises(GraftError, match=reason):
        create_pretrained(backbone(checkout, entry))


def test_create_network_names_the_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"backbone.name: .*nowhere does not exist"):
        create_network(f"hub:{tmp_path / 'nowhere'}:small")
    with pytest.raises(GraftError, match=r"has no hubconf\.py"):
        create_network(f"hub:{tmp_path}:small")
    (tmp_path / "hubconf.py").write_text("import a_module_that_is_not_there")
    with pytest.raises(GraftError, match=r"does not run \(No module named"):
        create_network(f"hub:{tmp_path}:small")
    with pytest.raises(GraftError, match="not of the form hub:FOLDER:ENTRY"):
        create_network("hub:small")


def test_a_checkpoint_is_held_to_the_code_that_made_its_network(checkout: Path) -> None:
    recipe = ImageRecipe(
        name="x", data={"source": "."}, backbone=backbone(checkout, "small"), image={"size": 64}
    )
    card = json.loads(json.dumps(load_pretrained(recipe).network))
    assert build_classifier(card, 2).saved().get_classifier().out_features == 2
    (checkout / "notes.txt").write_text("no code")
    (checkout / "__pycache__").mkdir(exist_ok=True)
    (checkout / "__pycache__" / "x.py").write_text("")
    build_classifier(card, 2)
    (checkout / "hubconf.py").write_text(HUBCONF.replace("nn.ReLU()", "nn.GELU()"))
    with pytest.raises(GraftError, match="not what this checkpoint was trained with"):
        build_classifier(card, 2)
    (checkout / "hubconf.py").rename(checkout / "other.py")
    checkout.rename(checkout.parent / "elsewhere")
    with pytest.raises(GraftError, match=r"is gone\. Put the folder back"):
        build_classifier(card, 2)


def test_a_recipes_folder_counts_from_the_recipe_and_is_no_part_of_what_it_chooses(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\ndata: {source: .}\nbackbone: {name: 'hub:nets/mine:small', weights: w.pth}\n")
    loaded = load_recipe(recipe)
    assert loaded.backbone.name == f"hub:{tmp_path / 'nets/mine'}:small"
    assert loaded.backbone.weights == str(tmp_path / "w.pth")
    assert loaded.backbone.code() == str(tmp_path / "nets/mine")
    assert without_places(loaded).backbone.name == "hub::small"
