"""The space of a search: what is wrong with it is told at once, and a grid is counted, not written down."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError, RecipeError
from pipeline.recipe.reading import check_recipe, dump_recipe, load_recipe
from pipeline.recipe.search import Dimension
from pipeline.recipe.sections import Recipe
from pipeline.search.axes import Axis
from pipeline.search.samplers import shuffled
from pipeline.search.search import _check_size
from pipeline.search.space import space_of
from tests.conftest import recipe_document


def recipe_with(search: dict[str, object], **finetune: object) -> Recipe:
    document = recipe_document(Path("/pictures"), Path("/weights"), search=search)
    document["finetune"] |= finetune
    return check_recipe(document, "recipe.yaml")


WRONG = {
    "finetune.learning_rat": ({"low": 2, "high": 1}, "unknown field; did you mean `finetune.learning_rate`?"),
    "learning_rate": ({"choices": [0.1, 0.2]}, "unknown field"),
    "finetune.lora.rnk": ({"low": 1, "high": 8}, "unknown field; did you mean `finetune.lora.rank`?"),
    "finetune.epochs": ({"low": 1, "high": 2.5}, "takes whole numbers only"),
    "finetune.mode": ({"choices": ["lora", "bogus"]}, "(found 'bogus')"),
    "finetune.penalty": ({"low": 0, "high": 3, "log": True}, "log: true needs low above 0 (found 0)"),
    "finetune.focal": ({"low": 2, "high": 2}, "has one value (2), and a search needs two at least"),
    "finetune.soup": ({"low": 5, "high": 1}, "low (5) is above high (1)"),
    "finetune.ema": ({"choices": [True]}, "has 1 value(s)"),
    "finetune.sampling": ({"choices": []}, "has no value(s)"),
    "finetune.patience": ({}, "needs `low` and `high`, or `choices`"),
    "finetune.warmup": ({"low": 0.0, "high": 1.5}, "Input should be less than 1 (found 1.5)"),
    "finetune.schedule": ({"choices": ["cosine", "cosine"]}, "has a choice twice"),
    "finetune.mixup": ({"choices": [0, 1], "low": 0}, "has `choices` and a range"),
    "finetune.weight_decay": ({"low": 0.0, "high": 1.0, "step": 2}, "step (2) has to be above 0"),
    "finetune.dropout": ({"low": 0.0, "high": 0.5, "step": 1e-320}, "step (9.99989e-321) is too small"),
    "finetune.layer_decay": (
        {"low": 0.5, "high": 1.0, "points": 10**15},
        "points (1,000,000,000,000,000) are",
    ),
    "finetune.lora.rank": ({"low": 1, "high": 1e30}, "takes whole numbers up to 9,007,199,254,740,992 only"),
    "finetune.augment.horizontal_flip": ({"low": 0, "high": 1}, "takes no numbers, and so no range"),
    "finetune.class_weights": ({"low": 0, "high": 1}, "takes no numbers, and so no range"),
    "finetune.augment": ({"low": 0, "high": 1}, "takes no numbers, and so no range"),
    "finetune.device": ({"choices": ["cpu", "cuda"]}, "changes nothing of the model"),
    "data.splits.test": ({"low": 0.1, "high": 0.2}, "changes which samples are trained on and judged"),
    "seed": ({"low": 0, "high": 2}, "changes which samples are trained on and judged"),
}


def test_everything_that_is_wrong_with_a_space_is_told_at_once() -> None:
    recipe = recipe_with({"space": {name: dimension for name, (dimension, _) in WRONG.items()}})
    with pytest.raises(RecipeError) as error:
        space_of(recipe)
    told = str(error.value).splitlines()[1:]
    for name, (_, fault) in WRONG.items():
        assert any(line.startswith(f"  search.space.{name}") and fault in line for line in told), name
    assert len({line.split(":")[0] for line in told}) == len(WRONG)
    assert "  search.space.finetune.learning_rat: low (2) is above high (1)" in told, "and all of one field"


def test_a_grid_needs_to_know_its_points() -> None:
    space = {"finetune.learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    with pytest.raises(RecipeError, match="a grid needs `step` or `points`"):
        space_of(recipe_with({"space": space, "method": "grid"}))
    assert space_of(recipe_with({"space": space})).size == 1


def test_a_grid_has_every_combination_once_whatever_its_order() -> None:
    space = space_of(
        recipe_with(
            {
                "method": "grid",
                "space": {
                    "finetune.learning_rate": {"low": 0.001, "high": 0.1, "log": True, "points": 3},
                    "finetune.epochs": {"low": 1, "high": 4},
                    "finetune.label_smoothing": {"low": 0.0, "high": 0.3, "step": 0.1},
                    "finetune.soup": {"low": 1, "high": 16, "log": True, "points": 9},
                    "finetune.augment.crop_scale": {"choices": [[0.8, 1.0], [1.0, 1.0]]},
                },
            }
        )
    )
    values = [
        ("[0.8, 1.0]", "[1.0, 1.0]"), (1, 2, 3, 4), (0.0, 0.1, 0.2, 0.3), (0.001, 0.01, 0.1),
        (1, 2, 3, 4, 6, 8, 11, 16),
    ]  # fmt: skip
    points = [tuple(space.point(shuffled(place, space.size, 7)).values()) for place in range(space.size)]
    assert sorted(points) == sorted(itertools.product(*values))
    assert points != sorted(points)


def test_a_grid_past_a_million_points_is_counted_and_refused_until_it_is_meant() -> None:
    thousand = {"low": 0.0, "high": 0.999, "step": 0.001}
    names = ("finetune.label_smoothing", "finetune.warmup", "finetune.mixup", "finetune.cutmix")
    recipe = recipe_with({"method": "grid", "space": dict.fromkeys(names, thousand)})
    start = time.monotonic()
    space = space_of(recipe)
    with pytest.raises(GraftError, match=r"the grid has 1,000,000,000,000 points \(1000 of .*--yes"):
        _check_size(recipe, space, agreed=False)
    _check_size(recipe, space, agreed=True)
    last = space.point(shuffled(10**12 - 1, space.size, 0))
    assert set(last) == set(names)
    assert time.monotonic() - start < 5, "no point but the one that is asked for is made"


def test_a_grid_past_what_a_machine_counts_is_searched_all_the_same() -> None:
    fine = {"low": 0.0, "high": 0.5, "points": 10**10}
    names = ("finetune.label_smoothing", "finetune.warmup", "finetune.mixup")
    space = space_of(recipe_with({"method": "grid", "space": dict.fromkeys(names, fine)}))
    assert space.size == 10**30
    points = {tuple(space.point(shuffled(place, space.size, 0)).values()) for place in range(100)}
    assert len(points) == 100


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 16), (3, 40), (7, 1000)])
@pytest.mark.parametrize("points", [2, 3, 5, 9, 30, 200, 5000])
def test_points_of_whole_numbers_are_counted_without_being_written_down(
    low: int, high: int, points: int, *, log: bool
) -> None:
    axis = Axis("n", Dimension(low=low, high=high, log=log, points=points), whole=True)
    values = [axis.value_at(index) for index in range(axis.points or 0)]
    assert values == sorted(set(values))
    exact = [
        low * (high / low) ** (index / (points - 1)) if log else low + (high - low) * index / (points - 1)
        for index in range(points)
    ]
    assert (values[0], values[-1]) == (low, high)
    assert {round(value) for value in exact if abs(value % 1 - 0.5) > 1e-6} <= set(values)
    assert all(min(abs(value - each) for each in exact) < 0.5 + 1e-6 for value in values)


@pytest.mark.parametrize("log", [False, True])
def test_any_number_of_points_of_whole_numbers_takes_no_time(*, log: bool) -> None:
    start = time.monotonic()
    axis = Axis("n", Dimension(low=1, high=1000, log=log, points=2_000_000_000), whole=True)
    assert axis.points == 1000
    assert [axis.value_at(index) for index in range(1000)] == list(range(1, 1001))
    assert time.monotonic() - start < 1


def test_a_combination_that_the_recipe_refuses_is_refused_by_its_own_rules() -> None:
    space = {
        "finetune.logit_adjustment": {"low": 0.0, "high": 1.0},
        "finetune.class_weights": {"choices": ["balanced", "none"]},
    }
    recipe = recipe_with({"space": space}, mode="features")
    values = {"finetune.logit_adjustment": 0.5, "finetune.class_weights": "balanced"}
    with pytest.raises(RecipeError, match=r"(?s)trial 3: .*Keep one of them") as error:
        space_of(recipe).recipe_with(recipe, values, "trial 3")
    assert "class_weights: balanced and logit_adjustment" in str(error.value)


@pytest.mark.parametrize("mode", ["auto", "features", "full", "lp-ft", "gradual", "lora"])
@pytest.mark.parametrize("objective", ["loss", "macro_f1"])
@pytest.mark.parametrize("method", ["bayesian", "grid"])
def test_every_way_to_train_has_a_space_of_its_own(mode: str, objective: str, method: str) -> None:
    recipe = recipe_with({"objective": objective, "method": method}, mode=mode)
    space = space_of(recipe)
    for place in (0, space.size - 1):
        if method == "grid":
            space.recipe_with(recipe, space.point(place), "a point")


def test_paths_among_choices_count_from_the_recipe_s_folder(tmp_path: Path) -> None:
    space = {
        "backbone.weights": {
            "choices": ["w.safetensors", "hub", "package:some/w.safetensors", "/w.safetensors"]
        },
        "backbone.name": {"choices": ["test_resnet", "hub:code:net"]},
        "backbone": {"choices": [{"name": "test_resnet", "weights": "../w.safetensors"}]},
        "finetune.augment.albumentations": {"choices": [None, "some.json"]},
        "finetune.augment": {"choices": [{"albumentations": "some.json"}, {"horizontal_flip": False}]},
        "finetune.mode": {"choices": ["full", "bogus"]},
    }
    document = recipe_document(Path("/pictures"), Path("/weights"), search={"space": space})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    read = load_recipe(tmp_path / "recipe.yaml").search.space
    assert {name: list(dimension.choices or ()) for name, dimension in read.items()} == {
        "backbone.weights": [
            f"{tmp_path}/w.safetensors", "hub", "package:some/w.safetensors", "/w.safetensors"
        ],
        "backbone.name": ["test_resnet", f"hub:{tmp_path}/code:net"],
        "backbone": [{"name": "test_resnet", "weights": f"{tmp_path}/../w.safetensors"}],
        "finetune.augment.albumentations": [None, f"{tmp_path}/some.json"],
        "finetune.augment": [{"albumentations": f"{tmp_path}/some.json"}, {"horizontal_flip": False}],
        "finetune.mode": ["full", "bogus"],
    }  # fmt: skip


def test_a_value_that_goes_with_another_searched_one_is_not_refused_for_the_recipe_s_own() -> None:
    space = {
        "finetune.logit_adjustment": {"choices": [0.0, 0.5]},
        "finetune.class_weights": {"choices": ["balanced", "none"]},
    }
    for best in ({"logit_adjustment": 0.5}, {"class_weights": "balanced"}):
        assert space_of(recipe_with({"space": space}, **best)).size == 4
    alone = {"finetune.class_weights": space["finetune.class_weights"]}
    with pytest.raises(RecipeError, match="Keep one of them"):
        space_of(recipe_with({"space": alone}, logit_adjustment=0.5))


def test_a_password_is_in_no_copy_of_a_recipe() -> None:
    recipe = recipe_with({"storage": "postgresql://me:p@ss:w0rd@host:5433/trials"})
    assert recipe.search.storage == "postgresql://me:p@ss:w0rd@host:5433/trials"
    assert "storage: postgresql://me@host:5433/trials\n" in dump_recipe(recipe)
    assert "w0rd" not in dump_recipe(recipe) + repr(recipe)
