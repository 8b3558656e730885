"""The answers of a trained network on samples that it was neither trained on nor chosen by."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.finetune.keep.candidates import State
from pipeline.finetune.stage import Started
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Split


def answer_split(
    started: Started, state: State, run: RunFolder, split: Split
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Answer a split by what is kept of a training.

    Args:
        started: What the training began with.
        state: The network's tensors after it.
        run: The run's folder, with the samples.
        split: Name of the split.

    Returns:
        Logits, float32 of shape (samples, classes), and class indices, int64 of shape (samples,).
    """
    modality, device = find_modality(started.pretrained.input.modality).load(), started.settings.device
    samples = [sample for sample in read_samples(run) if sample.split == split]
    examples = modality.decode_examples(samples, started.pretrained.preprocessor, run.scratch(split))
    classifier = copy.deepcopy(started.prepared.classifier)
    classifier.saved().load_state_dict(state)
    classifier.saved().to(device)
    logits = compute_logits(classifier, examples, device, split, modality.UNIT)
    return logits, np.array([started.labels.index(sample.label) for sample in samples], np.int64)
