"""The opponents of a run's model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.finetune.start.imbalance import Balance
from pipeline.recipe.reading import load_recipe
from pipeline.transfer import stage
from pipeline.transfer.records import read_answers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose opponents, random weights among them, are fitted anew."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("transfer") / "run"))
    document = yaml.safe_load((folder / "recipe.yaml").read_text())
    document["transfer"] = {"scratch_seconds": 1.0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
    stage.fit_opponents(load_recipe(folder / "recipe.yaml"), RunFolder(folder))
    return RunFolder(folder)


def test_fit_opponents_answers_the_test_split_by_each(run: RunFolder) -> None:
    samples = read_samples(run)
    test = [sample for sample in samples if sample.split == "test"]
    found = read_answers(run, [sample.sha256 for sample in test])
    assert [each.is_transfer for each in found.record.opponents] == [True, False, False]
    names = [each.name for each in found.record.opponents]
    assert names[0] == stage.HEAD
    assert names[1].startswith("colours, edges and HOG")
    assert names[2] == stage.SCRATCH
    assert found.record.measure == "accuracy"
    assert found.record.left_out == ()
    labels = labels_of(samples)
    targets = np.array([labels.index(sample.label) for sample in test])
    accuracies = (found.answers == targets).mean(axis=1)
    assert accuracies[1] > 0.9  # bars have edges, and plain pictures have none
    assert set(np.unique(found.answers)) <= {0, 1}


def test_random_weights_train_about_as_long_as_told_and_the_record_says_on_what(run: RunFolder) -> None:
    test = [sample.sha256 for sample in read_samples(run) if sample.split == "test"]
    scratch = read_answers(run, test).record.opponents[2]
    trained = [sample for sample in read_samples(run) if sample.split == "train"]
    assert f"on {len(trained)} pictures, epochs: " in scratch.told
    assert 0 < scratch.seconds < 30


def test_read_answers_refuses_those_to_other_samples(run: RunFolder) -> None:
    test = [sample.sha256 for sample in read_samples(run) if sample.split == "test"]
    with pytest.raises(GraftError, match=r"other samples.*graft transfer RUN --force"):
        read_answers(run, test[1:])


def test_random_weights_are_left_out_when_they_get_no_time(tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    test = [sample.sha256 for sample in read_samples(run) if sample.split == "test"]
    record = read_answers(run, test).record
    assert [each.name for each in record.opponents][:1] == [stage.HEAD]
    assert record.left_out == (f"{stage.SCRATCH}: transfer.scratch_seconds is 0",)


@pytest.mark.parametrize(
    ("balance", "measure"),
    [
        (Balance((5.0, 5.0)), "accuracy"),
        (Balance((9.0, 1.0), head_weights=np.ones(2, np.float32)), "balanced_accuracy"),
        (Balance((9.0, 1.0), adjustment=0.5), "balanced_accuracy"),
    ],
)
def test_classes_count_alike_where_the_training_balances_them(balance: Balance, measure: str) -> None:
    assert stage.measure_of(balance) == measure
