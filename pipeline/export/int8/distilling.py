"""The training of an int8 graph on the fp32 model's own answers, which need no labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.artifacts.onnx import OnnxModel
from pipeline.artifacts.sessions import create_session
from pipeline.export.int8.changes import Changes
from pipeline.export.int8.quantiser import WEIGHTED
from pipeline.export.int8.student import Student, UntrainableError
from pipeline.modalities.training import Examples
from pipeline.reporting.progress import track

if TYPE_CHECKING:
    import onnx

BATCH = 16
# Numbers that a graph computes for the samples that are run at once: with their gradients they take 2 GB.
LARGEST_PART = 2**28
# Of weights in their own steps, of biases in those of their outputs, and of the logarithms of scales. At six
# times the weights' rate the loss swings without falling, at twenty times it rises.
WEIGHT_RATE, BIAS_RATE, GAIN_RATE = 1e-3, 1e-2, 3e-4
MOMENTS = (0.9, 0.99)  # of a few hundred steps, whose gradients are noisy
WARM_UP = 20  # steps: Adam's first ones have a full rate in every weight at once
FEATURES_SHARE = 1.0  # how much the features' error counts beside the divergence of the answers


@dataclass(frozen=True)
class Lessons:
    """What an int8 graph is trained on.

    Attributes:
        examples: Decoded samples of the training split.
        unit: What people call several of them, such as ``pictures``.
        steps: Number of steps, each on a few samples.
        seed: Seed of the samples' order.
    """

    examples: Examples
    unit: str
    steps: int
    seed: int

    @property
    def samples(self) -> int:
        """The number of samples that are met."""
        return min(len(self.examples), self.steps * BATCH)

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the indices of each step's samples: every sample once, in another order each time."""
        rng, length = np.random.default_rng(self.seed), len(self.examples)
        passes = math.ceil(self.steps * BATCH / length)
        order = np.concatenate([rng.permutation(length) for _ in range(passes)])
        return [order[step * BATCH : (step + 1) * BATCH] for step in range(self.steps)]


@dataclass(frozen=True)
class Ends:
    """The values at the end of a graph that are compared.

    Attributes:
        features: Name of what the classifier reads.
        logits: Name of what the softmax reads.
    """

    features: str
    logits: str


def distill(prepared: bytes, quantised: bytes, changes: Changes, lessons: Lessons) -> Changes:
    """Train an int8 graph to give the fp32 model's features and answers.

    Args:
        prepared: The bytes of the fp32 model.
        quantised: The bytes of the int8 model that was made from it, without changes.
        changes: The changes of the int8 model to begin with.
        lessons: What it is trained on.

    Returns:
        The changes of the int8 model after training, the same for the same arguments.

    Raises:
        UntrainableError: The graph cannot be trained, or its loss is no longer a number.
    """
    import onnx

    exact, rounded = onnx.load_from_string(prepared), onnx.load_from_string(quantised)
    student = Student(rounded, exact, changes)
    teacher, ends = _teacher(exact), _ends(rounded)
    optimizer = torch.optim.Adam(_groups(student), betas=MOMENTS)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, lessons.steps))
    batches = lessons.batches()
    size = student.floats(lessons.examples.batch(batches[0][:1], "cpu"))
    parts = -(-BATCH // max(1, min(BATCH, LARGEST_PART // size)))
    for indices in track(batches, total=len(batches), what="int8: distilling", unit="steps"):
        optimizer.zero_grad()
        for part in np.array_split(indices, parts):
            feeds = lessons.examples.batch(part, "cpu")
            loss = _loss(student.forward(feeds, [ends.features, ends.logits]), teacher(feeds))
            if not math.isfinite(loss.item()):
                raise UntrainableError("the loss of its distillation is no longer a number")
            (loss * (len(part) / BATCH)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    return student.changes()


def _loss(ours: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the divergence of the answers, in nats, and the error of the features in proportion."""
    (features, logits), (exact_features, exact_logits) = ours, wanted
    divergence = functional.kl_div(
        logits.log_softmax(-1), exact_logits.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    error = (features - exact_features).square().mean() / exact_features.var().clamp(min=1e-12)
    return divergence + FEATURES_SHARE * error


def _groups(student: Student) -> list[dict[str, Any]]:
    weights = [student.values[int(place)] for place in student.gains]
    biases = [value for place, value in enumerate(student.values) if str(place) not in student.gains]
    return [
        {"params": weights, "lr": WEIGHT_RATE},
        {"params": biases, "lr": BIAS_RATE},
        {"params": list(student.gains.values()), "lr": GAIN_RATE},
    ]


def _share(step: int, steps: int) -> float:
    """Return the share of the rates in a step: a warm-up, and a cosine down to nothing."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _teacher(document: onnx.ModelProto) -> Any:  # noqa: ANN401 - a function
    """Return the function from a batch to the fp32 model's features and logits."""
    import onnx

    ends = _ends(document)
    probe = onnx.ModelProto.FromString(document.SerializeToString())
    names = [ends.features, ends.logits]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = create_session(OnnxModel(probe.SerializeToString()))

    def answer(feeds: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        arrays = {name: value.numpy() for name, value in feeds.items()}
        return [torch.from_numpy(value) for value in session.run(names, arrays)]

    return answer


def _ends(document: onnx.ModelProto) -> Ends:
    """Return the names of the values that are compared.

    Raises:
        UntrainableError: The model does not end in a classifier and a softmax.
    """
    nodes = document.graph.node
    classifier = [node for node in nodes if node.op_type in WEIGHTED][-1:]
    if not classifier or nodes[-1].op_type != "Softmax":
        raise UntrainableError("it does not end in a classifier and a softmax")
    return Ends(classifier[0].input[0], nodes[-1].input[0])
