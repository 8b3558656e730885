"""8 bits for convolutional networks: weights rounded beforehand, activations by ranges of real pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.artifacts.sessions import answer
from pipeline.export.int8.changes import Changes
from pipeline.export.int8.convolutions import round_convolutions
from pipeline.export.int8.distilling import Lessons, distill
from pipeline.export.int8.harm import Quantised, Trial, is_close, keep_most_harmful
from pipeline.export.int8.quantiser import METHODS, layers_of, measure_ranges, preprocess, quantize_static
from pipeline.measures.divergence import kl_divergences
from pipeline.modalities.reasons import reason_of
from serving.model.inputs.item import Feeds

log = logging.getLogger("graft")
JUDGED_EVERY = 4  # every fourth input does not calibrate, but judges how well the others did
# Inputs at most: a range is known by then, and a histogram takes a tenth of a second an input.
CALIBRATED = 128
# How many times as good as the limits a trained network must be. With layers in fp32 it would take longer, so
# that it must be four times as good.
SPARE_TAUGHT = 2.0


@dataclass(frozen=True)
class Prepared:
    """The fp32 model as the quantiser wants it, with the ranges of its activations.

    Attributes:
        model: The bytes of the ONNX file; batch norms are folded, shapes are noted.
        ranges: onnxruntime's ``TensorsData``: the least and the largest value of each activation.
        calibration: The calibration method that measured the ranges, a key of ``METHODS``.
        changes: What the int8 file holds in place of the nearest whole numbers.
        method: How the int8 file is made, for people to read.
    """

    model: bytes
    ranges: Any
    calibration: str
    changes: Changes
    method: str

    def quantise(self, kept: Sequence[str], inputs: Sequence[Feeds]) -> Quantised:
        """Make the int8 model, and have it answer some inputs.

        Args:
            kept: Names of layers that stay fp32.
            inputs: Single inputs of the model.
        """
        int8 = self.changes.apply(quantize_static(self.model, self.ranges, kept))
        method = f"static: {self.method}, ranges by {self.calibration}"
        return Quantised(int8, method, tuple(kept), answer(int8, inputs))


def make_int8(
    model: bytes,
    inputs: Sequence[Feeds],
    limits: Limits,
    lessons: Callable[[], Lessons] | None = None,
) -> Quantised:
    """Quantise a convolutional network with fixed scales, at the least change of its answers to real inputs.

    Each calibration method measures the activations' ranges on most of the inputs; the one that changes the
    answers to the others least is taken. Where that is not close enough, weights are rounded by GPTQ; where
    that is not either, the rounded network is trained on the fp32 one's answers. Only then do layers go back
    to fp32, since each of them takes time in every run.

    Args:
        model: The bytes of the fp32 ONNX file.
        inputs: Single inputs of the model, of the calibration split; a few hundred.
        limits: The limits that the receipt will hold the file to.
        lessons: Returns what the network may be trained on, none of which are in ``inputs``; None, the
            default, to train nothing.
    """
    exact = answer(model, inputs)
    nearest = _calibrate(preprocess(model), inputs)
    prepared = _closest(nearest, inputs, exact)
    quantised = prepared.quantise((), inputs)
    if is_close(exact, quantised.answers, limits):
        return quantised
    prepared = _closest([prepared, *_round(nearest, inputs)], inputs, exact)
    quantised = prepared.quantise((), inputs)
    if is_close(exact, quantised.answers, limits):
        return quantised
    if lessons is not None:
        prepared = _teach(prepared, lessons(), quantised, inputs, exact)
        quantised = prepared.quantise((), inputs)
        if is_close(exact, quantised.answers, limits, spare=SPARE_TAUGHT):
            return quantised
    trial = Trial(prepared.quantise, inputs, exact, limits)
    return keep_most_harmful(quantised, layers_of(prepared.model), trial)


def _teach(
    prepared: Prepared,
    lessons: Lessons,
    untaught: Quantised,
    inputs: Sequence[Feeds],
    exact: NDArray[np.float64],
) -> Prepared:
    """Train the rounded network; it stays as it was, with a method that says so, where that is in vain.

    Args:
        prepared: The model before.
        lessons: What it is trained on.
        untaught: The int8 model before.
        inputs: The inputs that judge, none of which are in the lessons.
        exact: The fp32 model's probabilities of them, float64 of shape (inputs, classes).
    """
    try:
        changes = distill(
            prepared.model, quantize_static(prepared.model, prepared.ranges), prepared.changes, lessons
        )
        told = f"distilled for {lessons.steps} steps on {lessons.samples:,} training {lessons.unit}"
        taught = replace(prepared, changes=changes, method=f"{prepared.method}, {told}")
        after = taught.quantise((), inputs)
    # Operators that are not known here, torch's errors, and onnxruntime's, which have no common type: the
    # network that was not taught is still there.
    except Exception as error:
        log.debug("export: distillation", exc_info=True)
        return replace(prepared, method=f"{prepared.method}, not distilled: {reason_of(error)}")
    if _divergence(exact, after) < _divergence(exact, untaught):
        return taught
    return replace(prepared, method=f"{taught.method} in vain")


def _divergence(exact: NDArray[np.float64], quantised: Quantised) -> float:
    """Return the mean divergence of a model's answers, in nats."""
    return float(kl_divergences(exact, quantised.answers).mean())


def is_convolutional(model: bytes) -> bool:
    """Return whether the work of an ONNX file is in convolutions.

    A transformer for pictures has one convolution, which cuts them into patches.
    """
    import onnx

    return [node.op_type for node in onnx.load_from_string(model).graph.node].count("Conv") > 1


def _calibrate(prepared: bytes, inputs: Sequence[Feeds]) -> list[Prepared]:
    """Measure ranges by each calibration method, for weights that are rounded to the nearest numbers.

    Args:
        prepared: The bytes of the ONNX file, as :func:`preprocess` returns them.
        inputs: Single inputs of the model, every fourth of which is left to judge the methods.
    """
    seen = _seen(inputs)
    return [
        Prepared(prepared, measure_ranges(prepared, seen, name), name, Changes(), "7-bit weights")
        for name in METHODS
    ]


def _round(nearest: Sequence[Prepared], inputs: Sequence[Feeds]) -> list[Prepared]:
    """Round the weights by GPTQ, for the ranges of each calibration method.

    Args:
        nearest: The model with the ranges of each method.
        inputs: Single inputs of the model, every fourth of which is left to judge.
    """
    model = nearest[0].model
    changes = round_convolutions(model, layers_of(model), _seen(inputs))
    return [replace(each, changes=changes, method=f"{each.method} rounded by GPTQ") for each in nearest]


def _closest(tried: Sequence[Prepared], inputs: Sequence[Feeds], exact: NDArray[np.float64]) -> Prepared:
    """Return the model that changes the answers to the inputs least that no range was measured on.

    Args:
        tried: The models.
        inputs: Single inputs of the model, every fourth of which judges.
        exact: The fp32 model's probabilities of the inputs, float64 of shape (inputs, classes).
    """
    judging = inputs[::JUDGED_EVERY]
    return min(tried, key=lambda each: _divergence(exact[::JUDGED_EVERY], each.quantise((), judging)))


def _seen(inputs: Sequence[Feeds]) -> list[Feeds]:
    """Return the inputs that ranges and weights are made by: those that do not judge, evenly thinned out."""
    others = [feeds for index, feeds in enumerate(inputs) if index % JUDGED_EVERY] or list(inputs)
    chosen = np.linspace(0, len(others) - 1, min(CALIBRATED, len(others))).round().astype(np.int64)
    return [others[index] for index in chosen]
