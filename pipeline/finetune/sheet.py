"""The sheet of augmented samples: what the training sees of a few of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.augmented import AUGMENTED_FILE, AugmentedSample, Seen, Sheet
from pipeline.finetune.start.prepared import Split
from pipeline.modalities.training import Previewable, Shown

SAMPLES = 6
VARIANTS = 5


def make_sheet(train: Split, labels: Sequence[str], seed: int) -> Sheet | None:
    """Draw changes of a few training samples; None where nothing changes by chance.

    The draws are not those of the training, which they do not disturb.

    Args:
        train: The training split.
        labels: Names of the classes.
        seed: The recipe's seed.
    """
    examples = train.examples
    if not isinstance(examples, Previewable):
        return None
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index in choose_samples(train.targets, SAMPLES):
        drawn = examples.preview(int(index), VARIANTS, generator)
        if drawn is None:
            return None
        original, variants = drawn
        label = labels[int(train.targets[index])]
        samples.append(
            AugmentedSample(label=label, original=_seen(original), variants=tuple(map(_seen, variants)))
        )
    return Sheet(samples=tuple(samples))


def sheet_file(train: Split, labels: Sequence[str], seed: int) -> Mapping[str, bytes]:
    """Return the content of the file ``augmented.json`` by its name; nothing where there is no sheet.

    Args:
        train: The training split.
        labels: Names of the classes.
        seed: The recipe's seed.
    """
    sheet = make_sheet(train, labels, seed)
    return {} if sheet is None else {AUGMENTED_FILE: sheet.to_bytes()}


def choose_samples(targets: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return the indices of a few samples: the first of each class, then the second of each, and so on.

    Args:
        targets: Class indices of the split, int64 of shape (samples,).
        limit: Number of samples at most.
    """
    rank = np.zeros(len(targets), np.int64)
    for target in np.unique(targets):
        places = np.flatnonzero(targets == target)
        rank[places] = np.arange(len(places))
    chosen = np.lexsort((targets, rank))[:limit]
    return chosen[np.argsort(targets[chosen], kind="stable")]


def _seen(shown: Shown) -> Seen:
    return Seen(picture=shown.picture, text=shown.text)
