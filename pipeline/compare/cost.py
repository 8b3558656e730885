"""What a backbone costs in service: time, parameters and bytes of the file that would be served."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.onnx import OnnxModel, to_onnx
from pipeline.artifacts.sessions import create_session
from pipeline.compare.records import Cost
from pipeline.export.classifier import ServedClassifier
from pipeline.files.layout import RunFolder
from pipeline.files.samples import evenly, labels_of, read_samples
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.opening import open_backbone
from pipeline.machine.settings import choose_settings, cpu_name
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

TIMED_SAMPLES = 16
WARM_UP_ROUNDS = 2
LEAST_ROUNDS = 5
SECONDS = 1.0
Feeds = Mapping[str, NDArray[Any]]


def measure_cost(recipe: Recipe, run: RunFolder) -> Cost:
    """Export a recipe's backbone with a head, and time it on samples of validation.

    The time is the CPU time of the one thread that computes, which on an idle machine is what a caller waits:
    other processes that work meanwhile are not in it.

    Args:
        recipe: The recipe, whose backbone is used.
        run: The run's folder, whose stage ``data`` is done.

    Raises:
        GraftError: The backbone cannot be had, or cannot be exported.
    """
    settings = choose_settings(recipe.finetune.device, recipe.finetune.precision)
    extractor = open_backbone(recipe, settings)
    everything = read_samples(run)
    validation = [sample for sample in everything if sample.split == "validation"]
    chosen = [validation[index] for index in evenly(len(validation), TIMED_SAMPLES)]
    preprocessor = extractor.pretrained.preprocessor
    examples = extractor.modality.decode_examples(chosen, preprocessor, run.scratch("compare"))
    feeds = [preprocessor.collate([examples[index]]) for index in range(len(examples))]
    _set_any_head(extractor, feeds[0], len(labels_of(everything)))
    with tempfile.TemporaryDirectory(prefix="graft-") as folder:
        model = _export(recipe, extractor, Path(folder))
        times = time_runs(create_session(model), feeds)
        size = model.size()
    low, median, high = np.percentile(times, [10, 50, 90]).tolist()
    network = extractor.pretrained.classifier.saved()
    return Cost(
        ms=median,
        low_ms=low,
        high_ms=high,
        runs=len(times),
        parameters=sum(value.numel() for value in network.parameters()),
        onnx_bytes=size,
        cpu=cpu_name(),
    )


def _set_any_head(extractor: Extractor, feeds: Feeds, classes: int) -> None:
    """Give the network a head of the right size, whose weights change neither time nor size."""
    classifier = extractor.pretrained.classifier
    with torch.inference_mode():
        embedded = classifier.embed(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    classifier.set_head(np.zeros((classes, embedded.shape[1]), np.float32), np.zeros(classes, np.float32))


def _export(recipe: Recipe, extractor: Extractor, folder: Path) -> OnnxModel:
    """Export the network as the stage ``export`` does, preprocessing and probabilities included."""
    preprocessor = extractor.pretrained.preprocessor
    return to_onnx(
        ServedClassifier(extractor.pretrained.classifier, 1.0, task_of(recipe)).eval(),
        preprocessor.collate([preprocessor.blank()] * 2),
        output_name="probabilities",
        metadata={},
        dynamic_axes=extractor.modality.DYNAMIC_AXES,
        tensors=folder / "model.onnx.data",
    )


def time_runs(session: Any, feeds: Sequence[Feeds]) -> NDArray[np.float64]:  # noqa: ANN401 - untyped
    """Return the milliseconds of single runs, once the session is warm, float64 of shape (runs,).

    Args:
        session: A session of ONNX Runtime with one thread.
        feeds: The inputs of each run, which are gone through in rounds.
    """
    for each in [*feeds] * WARM_UP_ROUNDS:
        session.run(None, dict(each))
    times, ends = list[float](), time.monotonic() + SECONDS
    rounds = 0
    while rounds < LEAST_ROUNDS or time.monotonic() < ends:
        for each in feeds:
            start = time.process_time_ns()
            session.run(None, dict(each))
            times.append((time.process_time_ns() - start) / 1e6)
        rounds += 1
    return np.array(times)
