"""What a user may write for a backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.compare.entries import name_contenders, read_entries
from pipeline.compare.suggesting import suggest
from pipeline.errors import GraftError
from pipeline.modalities.offers import Offer
from pipeline.recipe.reading import check_recipe, load_recipe
from pipeline.recipe.sections import Recipe

LITE = Offer("image", "package", True, "lite", "package:lite/lite.pth", "order", 4_000_000)
LARGE = Offer("image", "package", True, "large", "package:large/large.pth", None, 90_000_000)


@pytest.fixture
def recipe() -> Recipe:
    return check_recipe(
        {
            "name": "r",
            "data": {"source": "/data"},
            "backbone": {"name": "own", "weights": "/own.safetensors"},
            "image": {"size": 96, "crop_pct": 1.0},
        },
        "test",
    )


def offers(name: str) -> list[Offer]:
    known = {"lite": [LITE], "large": [LARGE], "twice": [LITE, LARGE]}
    return known.get(name, [])


def test_names_are_those_that_are_here_or_else_of_the_hub(recipe: Recipe) -> None:
    lite, other, own = read_entries(recipe, ["lite, resnet18", "own"], offers)
    assert (lite.backbone.name, lite.backbone.weights, lite.backbone.mapping) == (
        "lite", "package:lite/lite.pth", "order",
    )  # fmt: skip
    assert (other.backbone.name, other.backbone.weights) == ("resnet18", "hub")
    assert own == recipe
    assert lite.image == recipe.image


def test_weights_follow_an_equals_sign_and_count_from_here(recipe: Recipe, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    [found] = read_entries(recipe, ["a=w/a.safetensors"], offers)
    assert found.backbone.weights == str(tmp_path / "w" / "a.safetensors")


def test_the_line_of_a_recipe_is_an_entry(recipe: Recipe) -> None:
    for entry in (LITE.recipe_line(), LITE.recipe_line().removeprefix("backbone: ")):
        [found] = read_entries(recipe, [entry], offers)
        assert (found.backbone.name, found.backbone.mapping) == ("lite", "order")


def test_a_file_lists_entries_whose_paths_count_from_its_folder(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "others.yaml"
    path.write_text(
        "- lite\n- backbone: {name: v, weights: v.safetensors}\n  image: {size: 112}\n- {name: w}\n"
    )
    lite, vit, plain = read_entries(recipe, [str(path)], offers)
    assert lite.backbone.name == "lite"
    assert vit.backbone.weights == str(tmp_path / "v.safetensors")
    assert (vit.image.size, vit.image.crop_pct) == (112, 1.0)
    assert (plain.backbone.name, plain.image.size) == ("w", 96)


def test_a_recipe_gives_its_backbone_and_preparation(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    document = {
        "name": "o", "data": {"source": "elsewhere"}, "backbone": {"name": "o", "weights": "o.safetensors"},
        "image": {"size": 64}, "finetune": {"epochs": 9},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document))
    [found] = read_entries(recipe, [str(path)], offers)
    assert found.backbone == load_recipe(path).backbone
    assert (found.image.size, found.data, found.finetune) == (64, recipe.data, recipe.finetune)


def test_a_recipe_of_another_kind_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "text.yaml"
    path.write_text("{name: t, modality: text, data: {source: x}, backbone: {name: b}}")
    with pytest.raises(GraftError, match="is of text samples"):
        read_entries(recipe, [str(path)], offers)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("twice", "several weights of twice are here"),
        (",", "names no backbone"),
        ("=w", "no NAME=WEIGHTS"),
        ("nowhere.yaml", "cannot be read"),
        ("{name: a, colour: red}", "backbone.colour: unknown key"),
        ("backbone: {name: a}\ndata: {}", "unknown key 'data'"),
        ("{name: [", "cannot be read as YAML"),
    ],
)
def test_what_names_no_backbone_is_refused(recipe: Recipe, entry: str, message: str) -> None:
    with pytest.raises(GraftError, match=message):
        read_entries(recipe, [entry], offers)


def test_contenders_have_names_of_their_own_and_stand_once(recipe: Recipe) -> None:
    others = read_entries(
        recipe, ["a=/x/1.safetensors,a=/x/2.safetensors,a=/y/2.safetensors,own,lite,lite"], offers
    )
    found = name_contenders(recipe, others)
    assert [each.name for each in found] == [
        "own", "a (1.safetensors)", "a (2.safetensors) #1", "a (2.safetensors) #2", "lite",
    ]  # fmt: skip
    assert [each.is_own for each in found] == [True, False, False, False, False]


def test_suggestions_fit_the_budget_and_name_what_would_be_downloaded(recipe: Recipe) -> None:
    unknown = Offer("image", "cache", True, "unknown", "hub")
    nameless = Offer("image", "package", True, None, "package:x/y.pth")
    text = Offer("text", "package", True, "bert", "package:b/b")
    same = Offer("image", "package", True, "own_by_another_name", "/own.safetensors", None, 1)
    here = [LITE, LARGE, unknown, nameless, text, same]
    found = suggest(recipe, here, 20_000_000)
    assert [each.backbone.name for each in found.recipes] == ["lite", "unknown"]
    assert "resnet18.a1_in1k" in found.named
    assert "convnext_tiny.fb_in22k" not in found.named
    assert [each.backbone.name for each in suggest(recipe, here, None).recipes] == [
        "lite",
        "large",
        "unknown",
    ]
