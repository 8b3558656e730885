from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.errors import RecipeError
from pipeline.modalities.text.recipe import TextRecipe
from pipeline.recipe.data import Range, _tell_once
from pipeline.recipe.reading import dump_recipe, load_recipe
from tests.conftest import ROOT

GOOD = {"name": "x", "data": {"source": "pictures"}, "backbone": {"name": "resnet18"}}


def write(folder: Path, document: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def refusal(folder: Path, document: object) -> str:
    with pytest.raises(RecipeError) as refused:
        load_recipe(write(folder, document))
    return str(refused.value)


def test_load_recipe_counts_relative_paths_from_its_folder(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, GOOD | {"backbone": {"name": "resnet18", "weights": "../w.safetensors"}})
    )
    assert recipe.data.source == str(tmp_path / "pictures")
    assert Path(recipe.backbone.weights) == tmp_path / ".." / "w.safetensors"


@pytest.mark.parametrize("weights", ["hub", "package:somewhere/w.pth"])
def test_load_recipe_leaves_names_alone_when_they_are_no_paths(tmp_path: Path, weights: str) -> None:
    assert (
        load_recipe(
            write(tmp_path, GOOD | {"backbone": {"name": "resnet18", "weights": weights}})
        ).backbone.weights
        == weights
    )


def test_load_recipe_lists_all_that_is_wrong_with_the_nearest_names(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        {
            "name": "Has Spaces",
            "sed": 1,
            "data": {"splits": {"validaton": 0.1, "test": 2}},
            "backbone": {"name": "resnet18", "mappings": "order"},
            "finetune": {
                "epochs": 0,
                "lerning_rate": 0.1,
                "mode": "ful",
                "augment": {"horizontal_flips": True},
            },
            "zzz": 1,
        },
    )
    for line in (
        "sed: unknown key; did you mean `seed`?",
        "data.splits.validaton: unknown key; did you mean `validation`?",
        "backbone.mappings: unknown key; did you mean `mapping`?",
        "finetune.lerning_rate: unknown key; did you mean `learning_rate`?",
        "finetune.augment.horizontal_flips: unknown key; did you mean `horizontal_flip`?",
        "zzz: unknown key; known here: name, seed, data",
        "data.source: is required",
        "finetune.epochs: ",
        "finetune.mode: ",
        "data.splits.test: ",
        "name: ",
    ):
        assert line in message
    assert "11 thing(s) to mend" in message


def test_load_recipe_names_the_key_when_a_range_is_mistyped(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, GOOD | {"data": {"source": "x", "table": {"classes": {"low": {"bellow": 1}}}}}
    )
    assert "data.table.classes.low.bellow: unknown key; did you mean `below`?" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"data": {"source": "x", "splits": {"validation": 0.5, "test": 0.5}}},
            "must leave something to train on",
        ),
        ({"finetune": {"augment": {"crop_scale": [0.9, 0.5]}}}, "crop_scale"),
        ({"evaluate": {"require": {"acuracy": 0.9}}}, "evaluate.require.acuracy"),
        ({"seed": -1}, "seed"),
        ({"finetune": {"learning_rate": float("inf")}}, "finetune.learning_rate"),
        ({"evaluate": {"require": {"accuracy": float("nan")}}}, "evaluate.require.accuracy"),
    ],
)
def test_load_recipe_refuses_when_values_make_no_sense(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    assert words in refusal(tmp_path, GOOD | changes)


def test_load_recipe_does_not_repeat_a_whole_section_that_its_own_rule_refuses(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD | {"finetune": {"distill": "mirror", "mode": "features"}})
    assert "finetune: distill: mirror goes on training the whole network" in message
    assert "found" not in message
    assert "(found -1)" in refusal(tmp_path, GOOD | {"seed": -1})


@pytest.mark.parametrize("text", ["- a list", "", "a: [", "\x00"])
def test_load_recipe_refuses_when_not_a_mapping(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refusal(tmp_path, text)


def test_load_recipe_names_the_remedy_when_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="graft init"):
        load_recipe(tmp_path / "none.yaml")


def test_dump_recipe_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "examples" / "solar-cells" / "recipe.yaml")
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe


def test_load_recipe_takes_the_defaults_and_keys_of_its_modality(tmp_path: Path) -> None:
    text = {"name": "t", "modality": "text", "data": {"source": "t.csv"}, "backbone": {"name": "b"}}
    recipe = load_recipe(write(tmp_path, yaml.safe_dump(text)))
    assert isinstance(recipe, TextRecipe)
    assert (recipe.finetune.layer_decay, recipe.finetune.weight_decay) == (0.9, 0.01)
    assert "image: unknown key" in refusal(tmp_path, text | {"image": {"size": 64}})
    assert "text: unknown key" in refusal(tmp_path, GOOD | {"text": {"max_tokens": 64}})
    assert "finetune.augment.vertical_flip: unknown key" in refusal(
        tmp_path, text | {"finetune": {"augment": {"vertical_flip": True}}}
    )
    assert "did you mean `max_tokens`" in refusal(tmp_path, text | {"text": {"max_token": 64}})
    assert "modality: is 'sound'; known are image, text" in refusal(tmp_path, text | {"modality": "sound"})
    assert "modality: is ['text']" in refusal(tmp_path, text | {"modality": ["text"]})


@pytest.mark.parametrize(("value", "inside"), [(0.5, True), (0.49, False), (1.0, False)])
def test_range_holds_its_lower_bound_but_not_its_upper(value: float, inside: bool) -> None:
    assert Range.model_validate({"from": 0.5, "below": 1.0}).holds(value) is inside


@pytest.mark.parametrize("value", [True, False])
def test_the_former_name_of_a_key_is_read_told_once_and_no_longer_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, value: bool
) -> None:
    """Every run of an earlier version has it, since runs write all keys out."""
    _tell_once.cache_clear()
    path = write(tmp_path, GOOD | {"evaluate": {"ship_below_baseline": value}})
    recipes = [load_recipe(path), load_recipe(path)]
    assert [recipe.evaluate.ship_negative_transfer for recipe in recipes] == [value, value]
    assert [record.getMessage() for record in caplog.records] == [
        "recipe: ship_below_baseline is called ship_negative_transfer now; the former name is still read"
    ]
    written = dump_recipe(recipes[0])
    assert "ship_below_baseline" not in written
    assert load_recipe(write(tmp_path, written)) == recipes[0]


def test_both_names_of_a_key_may_only_agree(tmp_path: Path) -> None:
    both = {"ship_below_baseline": True, "ship_negative_transfer": True}
    assert load_recipe(write(tmp_path, GOOD | {"evaluate": both})).evaluate.ship_negative_transfer
    message = refusal(tmp_path, GOOD | {"evaluate": both | {"ship_negative_transfer": False}})
    assert "evaluate: ship_below_baseline and ship_negative_transfer are" in message
    assert "leave ship_below_baseline out" in message
    assert "ship_guessing" not in message


def test_a_wrong_value_under_a_former_name_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD | {"evaluate": {"ship_below_baseline": "perhaps"}})
    assert "evaluate.ship_negative_transfer" in message


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_recipe_of_an_earlier_version_is_read_with_every_key_that_it_had(kind: str) -> None:
    """The files are as runs of before the stage ``transfer`` wrote them, with all defaults."""
    old = Path(__file__).with_name("recipes") / f"{kind}-before-transfer.yaml"
    assert load_recipe(old).evaluate.ship_negative_transfer
