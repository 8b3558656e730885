"""The frozen backbone's features of whole splits: samples are decoded only where the cache lacks some."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, labels_of, read_samples
from pipeline.finetune.start.features import Extractor, Features
from pipeline.finetune.start.opening import open_backbone
from pipeline.finetune.start.soft import masses_of, soft_of, weights_of
from pipeline.machine.settings import apply_settings, choose_settings
from pipeline.modalities.training import Batch, Examples
from pipeline.recipe.data import Split
from pipeline.recipe.sections import Recipe


@dataclass(frozen=True)
class FrozenSplit:
    """A split as the frozen backbone sees it.

    Attributes:
        features: Features, float32 of shape (samples, features).
        targets: Class indices of the samples, int64 of shape (samples,).
        samples: The samples.
        soft: Probability of each class, float32 of shape (samples, classes); None where samples have but one
            label.
        weights: How much each sample counts in training, float32 of shape (samples,), with a mean of 1; None
            where all count alike.
    """

    features: Features
    targets: NDArray[np.int64]
    samples: tuple[Sample, ...]
    soft: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def masses(self, classes: int) -> NDArray[np.float32] | None:
        """Return what each sample adds to each class: its probability of it, times the sample's weight.

        Args:
            classes: Number of classes.

        Returns:
            float32 of shape (samples, classes); None where samples have neither probabilities nor weights.
        """
        return masses_of(self.targets, self.soft, self.weights, classes)


@dataclass(frozen=True)
class Frozen:
    """Splits of a run as a frozen backbone sees them.

    Attributes:
        splits: The splits that were asked for, by their names.
        labels: Names of the classes, in the order of the class indices.
        extractor: The frozen backbone.
    """

    splits: Mapping[str, FrozenSplit]
    labels: tuple[str, ...]
    extractor: Extractor


def extract_splits(recipe: Recipe, run: RunFolder, names: Collection[Split]) -> Frozen:
    """Load a recipe's backbone and compute its features of some splits, or read them from the cache.

    Args:
        recipe: The recipe, whose backbone is used.
        run: A run's folder, whose stage ``data`` is done.
        names: Names of the splits. No sample of another is read.

    Raises:
        GraftError: The backbone cannot be had, or cannot be used.
    """
    settings = choose_settings(recipe.finetune.device, recipe.finetune.precision)
    apply_settings(settings, recipe.seed)
    extractor = open_backbone(recipe, settings)
    everything = read_samples(run)
    labels = labels_of(everything)

    def extract(name: str) -> FrozenSplit:
        samples = tuple(sample for sample in everything if sample.split == name)
        targets = np.array([labels.index(sample.label) for sample in samples], np.int64)
        decode = partial(_decode, extractor, samples, run, name)
        hashes = [sample.sha256 for sample in samples]
        features = extractor.extract(LazyExamples(len(samples), decode), np.arange(len(samples)), hashes)
        return FrozenSplit(features, targets, samples, soft_of(samples), weights_of(samples))

    return Frozen({name: extract(name) for name in names}, labels, extractor)


def _decode(extractor: Extractor, samples: tuple[Sample, ...], run: RunFolder, split: str) -> Examples:
    """Decode the samples of a split through the code that serves them."""
    modality, preprocessor = extractor.modality, extractor.pretrained.preprocessor
    return modality.decode_examples(samples, preprocessor, run.scratch(split))


class LazyExamples:
    """Samples of a split that are decoded when the first of them is asked for.

    Args:
        count: Number of samples.
        decode: Decodes all of them; it is called once at most.
    """

    def __init__(self, count: int, decode: Callable[[], Examples]) -> None:
        self._count = count
        self._decode = decode

    @cached_property
    def _examples(self) -> Examples:
        return self._decode()

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the decoded array of one sample."""
        return self._examples[index]

    def lengths(self) -> NDArray[np.int64] | None:
        """Return the length of each array, int64 of shape (samples,); None where all are equally long."""
        return self._examples.lengths()

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the model's inputs for some samples, as :meth:`Examples.batch` does."""
        return self._examples.batch(indices, device, generator)
