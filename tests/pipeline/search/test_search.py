"""Searches with real trials: heads on frozen features, trainings, outer folds, and what is left of them."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from pipeline.artifacts.history import Epoch
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.finetune.stage import carry_out, start
from pipeline.recipe.reading import dump_recipe, load_recipe
from pipeline.recipe.sections import Recipe
from pipeline.run.runner import open_run, run_stage
from pipeline.search.bench import Bench, Result, Score
from pipeline.search.best import write_best
from pipeline.search.nested import outer_folds, prepare_nested
from pipeline.search.search import Changes, search
from pipeline.search.searcher import BehindError, Searcher
from pipeline.search.space import space_of, with_values
from pipeline.search.stores import open_store
from tests.conftest import recipe_document, run_graft
from tests.pipeline.search.places import HEADS, Worker, write_recipe

TRAINED = {"mode": "lp-ft", "epochs": 2, "batch_size": 16, "augment": {"horizontal_flip": False}}
RATES = {
    "finetune.learning_rate": {"low": 1e-5, "high": 0.03, "log": True},
    "finetune.label_smoothing": {"choices": [0.0, 0.1]},
}


@pytest.fixture
def run(
    tmp_path: Path,
    pictures: Path,
    tiny_weights: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder of a run whose data are read, on pictures of its own.

    Pages take a second each, and are written where the test reads one.
    """
    if "page" not in request.node.name:
        monkeypatch.setattr("pipeline.search.page.write_page", lambda *_: None)
    own = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    recipe = write_recipe(tmp_path, own, tiny_weights, {"space": HEADS, "trials": 6})
    run_stage("data", open_run(recipe, tmp_path / "run"))
    return tmp_path / "run"


def search_in(run: Path, **changes: object):
    """Search in a run whose samples are not looked at any more."""
    recipe = load_recipe(run / "recipe.yaml")
    recipe = recipe.model_copy(update={"search": recipe.search.model_copy(update=changes)})
    store = open_store(None, run / "search" / "trials.db")
    try:
        return Searcher(recipe, RunFolder(run), space_of(recipe), store).search()
    finally:
        store.close()


def test_the_test_split_is_not_read_and_no_outer_fold_is_in_its_own_search(run: Path) -> None:
    held_out = [sample for sample in read_samples(RunFolder(run)) if sample.split == "test"]
    assert len(held_out) > 10
    before = search_in(run, study="before").trials
    for sample in held_out:
        (run.parent / "pictures" / sample.source).unlink()
    rows = [[replace(row, seconds=0) for row in trials] for trials in (before, search_in(run).trials)]
    assert rows[0] == rows[1]
    nested = search_in(run, study="nested", nested=True, trials=1).nested
    assert nested is not None
    assert len(nested.scores) == 5
    assert nested.low < nested.mean < nested.high
    everything = {s.sha256 for s in read_samples(RunFolder(run)) if s.split in {"train", "validation"}}
    judged: list[str] = []
    for number in range(5):
        samples = read_samples(RunFolder(run / "search" / f"fold-{number}"))
        fold = [sample.sha256 for sample in samples if sample.split == "test"]
        assert {sample.sha256 for sample in samples} == everything
        assert not set(fold) & {sample.sha256 for sample in samples if sample.split != "test"}
        judged += fold
    assert sorted(judged) == sorted(everything), "each is judged in one fold"
    recipe = with_values(
        load_recipe(run / "recipe.yaml"), {"finetune.mode": "full", "finetune.epochs": 1}, ""
    )
    result = Bench(RunFolder(run)).carry_out(recipe, lambda _: None, held_out="validation")
    assert result.held_out is not None
    assert result.held_out.loss == pytest.approx(result.score.loss, rel=1e-4), "a split is answered as it was"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"group_by": "{group}/*"}, "data.group_by keeps samples together"),
        ({"split_by_time": "when"}, "data.split_by_time keeps samples together"),
        ({"layout": "{label}/{group}.png"}, r"data.layout \({label}/{group}.png\) keeps samples together"),
    ],
)
def test_samples_that_belong_together_are_not_torn_apart_by_outer_folds(
    data: dict[str, str], told: str, run: Path
) -> None:
    recipe = load_recipe(run / "recipe.yaml")
    prepare_nested(recipe)
    with pytest.raises(GraftError, match=told):
        prepare_nested(recipe.model_copy(update={"data": recipe.data.model_copy(update=data)}))


def test_each_outer_fold_has_the_minutes_of_the_search_for_itself(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def carry_out(self: Bench, recipe: Recipe, watch: object, held_out: object = None) -> Result:
        time.sleep(0.05)
        score = Score(recipe.finetune.penalty or 0.0, 0.5, 0.5)
        return Result(score, score if held_out else None)

    monkeypatch.setattr(Bench, "carry_out", carry_out)
    caplog.set_level("INFO", "graft")
    found = search_in(run, trials=1000, minutes=0.2 / 60, nested=True)
    assert 1 <= len(found.trials) <= 4, "the time ended the search"
    assert found.nested is not None
    assert len(found.nested.scores) == 5
    told = [record.getMessage() for record in caplog.records if "outer folds" in record.getMessage()]
    assert told[0].endswith("come after the search, each with 0.00333333 minutes of its own")
    assert len(told) == 2


def test_a_class_of_few_samples_has_no_outer_folds(run: Path) -> None:
    samples = read_samples(RunFolder(run))
    few = [sample for sample in samples if sample.label == "plain"][:9]
    with pytest.raises(GraftError, match="a class has 9 samples, and 5 outer folds need 10 of each"):
        outer_folds([*few, *(sample for sample in samples if sample.label == "bars")], 0)


def test_the_best_recipe_runs_and_ends_where_the_trial_did(run: Path) -> None:
    found = search_in(run)
    assert found.recipe.read_text().startswith(
        f"# Trial {found.best.place} of the study tiny, the best of 6: "
    )
    best = load_recipe(found.recipe)
    assert {name: best.finetune.model_dump()[name.split(".")[1]] for name in HEADS} == found.best.values
    run_stage("data", open_run(found.recipe, run))
    run_stage("finetune", open_run(found.recipe, run))
    history = json.loads((run / "checkpoint" / "history.json").read_text())
    trial = Bench(RunFolder(run)).carry_out(best, lambda _: None)
    assert trial.score.loss == pytest.approx(found.best.value)
    assert history["head"]["penalty"] == pytest.approx(found.best.values["finetune.penalty"])
    assert f"{trial.score.loss:.3f}" in history["trained"]["why"]


def test_a_trial_that_reuses_what_another_prepared_ends_where_a_fresh_one_does(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    recipe = write_recipe(tmp_path, pictures, tiny_weights, {"space": RATES}, **TRAINED)
    opened = open_run(recipe, tmp_path / "run")
    run_stage("data", opened)
    bench, told = Bench(opened.folder), []
    for values in (
        {"finetune.learning_rate": 0.003},
        {"finetune.learning_rate": 0.001, "finetune.dropout": 0.2},
    ):
        told.append([])
        bench.carry_out(with_values(opened.recipe, values, ""), told[-1].append)
    prepared = bench._beginning[1].started.prepared
    fresh = with_values(opened.recipe, values, "")
    started, own = start(fresh, opened.folder), []
    carry_out(fresh.finetune, started.prepared, started.plan, None, own.append)
    losses = [[(epoch.train_loss, epoch.validation_loss) for epoch in epochs] for epochs in (*told, own)]
    assert losses[2] == losses[1] != losses[0]

    def fall_behind(epoch: Epoch) -> None:
        raise BehindError

    with pytest.raises(BehindError):
        bench.carry_out(fresh, fall_behind)
    assert bench._beginning[1].started.prepared is prepared
    other = with_values(opened.recipe, {"finetune.class_weights": "balanced"}, "")
    bench.carry_out(other, lambda _: None)
    assert bench._beginning[1].started.prepared is not prepared, "heads depend on it"


def test_a_search_goes_on_in_a_run_that_has_taken_over_its_best_recipe(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {
        "finetune.logit_adjustment": {"choices": [0.0, 0.5]},
        "finetune.class_weights": {"choices": ["balanced", "none"]},
        "finetune.penalty": {"low": 0.001, "high": 10, "log": True},
    }
    recipe = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    recipe["search"] = {"space": space, "trials": 3, "objective": "accuracy", "method": "random"}
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(run.parent)
    first = search(Path("recipe.yaml"), run, None, Changes(storage="sqlite:///own.db"))
    for adjustment, weights in (
        (0.5, "none"),
        (0.0, "balanced"),
    ):  # each of which refuses a value of the other
        values = {"finetune.logit_adjustment": adjustment, "finetune.class_weights": weights}
        best = with_values(load_recipe(first.recipe), values, "")
        write_best(first, best)
        run_stage("data", open_run(first.recipe, run))
        assert (run / "recipe.yaml").read_text() == dump_recipe(best)
        monkeypatch.chdir("/")
        on = search(run, None, None, Changes(trials=4))
        assert on.trials[:3] == first.trials
        assert len(on.trials) == 4


def test_a_study_of_other_weights_among_its_choices_is_refused(
    run: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copy(tiny_weights, run.parent / f"{name}.safetensors")
    recipe = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    recipe["search"] = {
        "method": "grid",
        "space": {"backbone.weights": {"choices": ["one.safetensors", "two.safetensors"]}},
    }
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir("/")
    found = search(run.parent / "recipe.yaml", run, None, Changes())
    assert [row.state for row in found.trials] == ["done", "done"]
    assert Path(load_recipe(found.recipe).backbone.weights).parent == run.parent
    assert search(run.parent / "recipe.yaml", run, None, Changes()).trials == found.trials
    tensors = load_file(run.parent / "two.safetensors")
    save_file({name: value + 1 for name, value in tensors.items()}, run.parent / "two.safetensors")
    with pytest.raises(GraftError, match=r"is of another search: files.backbone.weights is"):
        search(run.parent / "recipe.yaml", run, None, Changes())
    (run.parent / "two.safetensors").unlink()
    with pytest.raises(GraftError, match=r"backbone.weights: .*two.safetensors does not exist"):
        search(run.parent / "recipe.yaml", run, None, Changes())


def test_a_study_of_another_space_or_other_data_is_refused_with_what_differs(run: Path) -> None:
    search_in(run, trials=1)
    other = {**HEADS, "finetune.penalty": {"low": 0.01, "high": 10, "log": True}}
    recipe = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    recipe["search"] |= {"space": other, "seed": 5}
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(GraftError) as error:
        search(run.parent / "recipe.yaml", run, None, Changes())
    assert "The study `tiny` in" in str(error.value)
    assert "search.seed is 0 there and 5 here" in str(error.value)
    assert "search.space.finetune.penalty.low is 0.001 there and 0.01 here" in str(error.value)
    assert "--study NAME" in str(error.value)
    next((run.parent / "pictures" / "bars").iterdir()).unlink()
    recipe["search"] = {"space": HEADS}
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(GraftError, match="is of another search: data is"):
        search(run.parent / "recipe.yaml", run, None, Changes())


def test_a_trial_that_the_recipe_refuses_fails_on_the_page_and_the_others_go_on(run: Path) -> None:
    space = space_of(load_recipe(run / "recipe.yaml"))
    assert space.size == 1
    recipe = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    recipe["search"] = {
        "method": "grid",
        "space": {
            "finetune.logit_adjustment": {"choices": [0.0, 0.5]},
            "finetune.class_weights": {"choices": ["none", "balanced"]},
        },
    }
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    found = search(run.parent / "recipe.yaml", run, None, Changes())
    failed = [row for row in found.trials if row.state == "failed"]
    assert [dict(row.values) for row in failed] == [
        {"finetune.class_weights": "balanced", "finetune.logit_adjustment": 0.5}
    ]
    assert "Keep one of them" in failed[0].why
    assert "trials     4 of 4 (1 failed)" in found.to_text()
    assert "Keep one of them" in found.page.read_text()


def test_the_time_of_a_search_ends_it_between_trials(run: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "w", tmp_path / "recipe.yaml", run, pause_s=0.5, minutes=1.2 / 60)
    assert 1 <= len(worker.trials()) <= 4


def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    for url, told in (
        ("postgresql://me:s3cret@127.0.0.1:1/trials", "nothing answers there"),
        ("postgresql://me:s3cret@127.0.0.1:1/trials?sslmode=require", "nothing answers there"),
        (
            "postgresql://me:s3cret@127.0.0.1:1/trials?sslmode=verify-full",
            "verify-full is unknown. Write one of",
        ),
        ("postgresql://me@127.0.0.1:1/trials?password=s3cret&x=1", "options that are unknown: password, x. "),
        ("mysql://me:s3cret@host/trials", "is no address of a database"),
        ("trials of s3cret", "is no address of a database"),
    ):
        with pytest.raises(GraftError, match=told) as error:
            open_store(url, tmp_path / "trials.db")
        if "//" in url:
            assert "s3cret" not in str(error.value)
        assert "\n" not in str(error.value)


def test_the_command_prints_what_it_found_and_leaves_a_page_that_needs_nothing_else(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    document = recipe_document(pictures, tiny_weights)
    document["finetune"] = {"mode": "features", "device": "cpu"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    run = tmp_path / "run"
    told = run_graft("search", tmp_path / "recipe.yaml", "--run", run, "--trials", 5, "--json")
    found = json.loads(told.stdout)
    assert len(found["trials"]) == 5
    assert found["objective"] == "loss"
    assert set(found["best"]["values"]) == {"finetune.penalty"}, "the default space of heads"
    assert json.loads((run / "search" / "search.json").read_text()) == found
    page = (run / "search" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert "http" not in page.replace("http-equiv", "")
    assert "search: the study tiny has 5 trials" in told.stderr
    assert told.stderr.count("search: trial ") == 5
    assert told.stderr.count("features: all") + told.stderr.count("are new") == 2, "read once for all trials"


def test_a_search_in_which_nothing_can_be_had_ends_early_with_the_reason(run: Path) -> None:
    recipe = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    recipe["backbone"]["name"] = "resnet_of_nobody"
    (run.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(GraftError, match=r"None of 5 trial.*resnet_of_nobody.*--study NAME"):
        search(run.parent / "recipe.yaml", run, None, Changes())


def test_a_file_that_is_no_database_is_told_in_one_line(run: Path) -> None:
    (run / "search").mkdir()
    (run / "search" / "trials.db").write_bytes(b"no database" * 100)
    with pytest.raises(GraftError, match=r"trials\.db: cannot be used as the database of a search") as error:
        search(run.parent / "recipe.yaml", run, None, Changes())
    assert "\n" not in str(error.value)
