"""8-bit weights: the artifact ``onnx-int8``, made from the fp32 ONNX file."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.export.smoothing import measure_peaks, products_of, smooth
from pipeline.onnx import create_session
from pipeline.progress import track
from serving.inputs.item import Feeds
from serving.runtime import cpu_limit

log = logging.getLogger("graft")
# How much of the activations' spread over channels moves into the weights (SmoothQuant's alpha); None: nothing is moved.
STRENGTHS = (None, 0.5, 0.65, 0.8)
PEAK_INPUTS = 512  # enough to meet the largest activations
HARDEST = 128  # inputs on which the products' harm is measured: those that quantisation changes most
KEPT_SHARE = 0.25  # of the products at most stay fp32, or little would be left to gain


@dataclass(frozen=True)
class Quantised:
    """A quantised model and how it was made.

    Attributes:
        model: The int8 ONNX file's bytes.
        strength: Of the smoothing.
        kept: Names of the products that stayed fp32.
        answers: Its probabilities of the inputs that it was made with, float64 of shape (inputs, classes).
    """

    model: bytes
    strength: float | None
    kept: tuple[str, ...]
    answers: NDArray[np.float64]


def make_int8(model: bytes, inputs: Sequence[Feeds], min_cosine: float) -> bytes:
    """Quantise a model dynamically, so that it changes its answers to some real inputs as little as can be.

    First the smoothing is chosen. Where the least cosine is then not half as far from 1 as the limit, the products that hurt
    most go back to fp32, one after the other: the test split is larger, and its extremes lie further out.

    Args:
        model: The fp32 ONNX file's bytes.
        inputs: Single inputs of the model, not of the test split.
        min_cosine: What the receipt will ask for.

    Returns:
        The int8 ONNX file's bytes.
    """
    exact = answer(model, inputs)
    smoothed: dict[float | None, bytes] = {None: model}
    if products_of(model):
        peaks = measure_peaks(model, inputs[:: max(1, len(inputs) // PEAK_INPUTS)])
        smoothed |= {strength: smooth(model, peaks, strength) for strength in STRENGTHS if strength}
    tried = [_quantise(source, strength, (), inputs) for strength, source in smoothed.items()]
    best = min(tried, key=lambda made: mean_divergence(exact, made.answers))
    wanted = 1 - (1 - min_cosine) / 2
    if cosines(exact, best.answers).min() < wanted:
        best = _keep_worst(smoothed[best.strength], best, inputs, exact, wanted)
    log.info(
        "int8: smoothing %s, %d products kept fp32%s; least cosine %.4f and mean KL %.1e on %d inputs of validation",
        best.strength, len(best.kept), f" ({', '.join(best.kept)})" if best.kept else "",
        cosines(exact, best.answers).min(), mean_divergence(exact, best.answers), len(inputs),
    )  # fmt: skip
    return best.model


def _quantise(source: bytes, strength: float | None, kept: Sequence[str], inputs: Sequence[Feeds]) -> Quantised:
    made = quantize_dynamic(source, kept)
    return Quantised(made, strength, tuple(kept), answer(made, inputs))


def _keep_worst(source: bytes, start: Quantised, inputs: Sequence[Feeds], exact: NDArray[np.float64], wanted: float) -> Quantised:
    """Put products back to fp32, the most harmful first, until the least cosine is as wanted or too many are back."""
    hardest = np.argsort(cosines(exact, start.answers), kind="stable")[:HARDEST]
    hard = [inputs[index] for index in hardest]
    names = products_of(source)

    def harm_left(name: str) -> float:
        return mean_divergence(exact[hardest], answer(quantize_dynamic(source, [name]), hard))

    ranked = sorted(track(names, total=len(names), what="int8", unit="products"), key=harm_left)
    made = start
    for count in range(1, max(1, int(KEPT_SHARE * len(names))) + 1):
        made = _quantise(source, start.strength, ranked[:count], inputs)
        if cosines(exact, made.answers).min() >= wanted:
            break
    return made


def quantize_dynamic(model: bytes, kept: Sequence[str] = ()) -> bytes:
    """Weights of 7 bits, one scale a column; activations are quantised as they come (onnxruntime's dynamic quantisation).

    Only products with constant matrices are quantised: an embedding would lose accuracy without becoming faster. Weights use
    7 bits, since on CPUs without VNNI the sum of two 8-bit products overflows 16 bits, and the answers would depend on the CPU.

    Args:
        model: The fp32 ONNX file's bytes.
        kept: Names of products that stay fp32.

    Returns:
        The int8 ONNX file's bytes, the same every time.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    document = onnx.load_from_string(model)
    metadata = {item.key: item.value for item in document.metadata_props}
    # Its shape inference trips over what the exporter notes of inner values.
    del document.graph.value_info[:]
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder, _without_advice():
        path = Path(folder) / "int8.onnx"
        quantize(
            document, path, op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=list(kept),
            weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
        )  # fmt: skip
        quantized = onnx.load(path)
    known = {item.key for item in quantized.metadata_props}
    for key in sorted(metadata.keys() - known):
        quantized.metadata_props.add(key=key, value=metadata[key])
    return quantized.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def answer(model: bytes, inputs: Sequence[Feeds]) -> NDArray[np.float64]:
    """Probabilities, float64 of shape (inputs, classes)."""
    session = create_session(model)
    with ThreadPoolExecutor(cpu_limit()) as pool:
        return np.concatenate(list(pool.map(lambda feeds: session.run(None, dict(feeds))[0], inputs))).astype(np.float64)


def mean_divergence(exact: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence, in nats."""
    least = np.finfo(np.float32).tiny
    return float((exact * (np.log(np.maximum(exact, least)) - np.log(np.maximum(found, least)))).sum(axis=1).mean())


def cosines(exact: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine of each input's two vectors of probabilities, shape (inputs,)."""
    return np.asarray((exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1))


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep onnxruntime's quantiser from logging advice about static quantisation to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
