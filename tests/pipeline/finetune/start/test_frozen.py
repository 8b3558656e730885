"""The frozen backbone's features of whole splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.files.layout import RunFolder
from pipeline.finetune.start import frozen
from pipeline.recipe.reading import load_recipe


def test_extract_splits_gives_features_of_the_named_splits_in_the_order_of_the_samples(
    tiny_run: Path,
) -> None:
    run = RunFolder(tiny_run)
    found = frozen.extract_splits(load_recipe(run.recipe), run, ["train", "validation"])
    assert set(found.splits) == {"train", "validation"}
    for name, split in found.splits.items():
        assert {sample.split for sample in split.samples} == {name}
        assert [found.labels[target] for target in split.targets] == [each.label for each in split.samples]
        assert split.features.shape[0] == len(split) == len(split.samples)


def test_extract_splits_decodes_nothing_when_all_features_are_in_the_cache(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tiny_run)
    recipe = load_recipe(run.recipe)
    first = frozen.extract_splits(recipe, run, ["validation"]).splits["validation"]
    monkeypatch.setattr(frozen, "_decode", lambda *_: pytest.fail("a sample was decoded"))
    again = frozen.extract_splits(recipe, run, ["validation"]).splits["validation"]
    assert np.array_equal(first.features, again.features)
