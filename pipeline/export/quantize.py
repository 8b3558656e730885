"""8-bit weights: the artifact ``onnx-int8``, made from the fp32 ONNX file."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.progress import track
from serving.runtime import cpu_limit

if TYPE_CHECKING:
    import onnx

log = logging.getLogger("graft")
# How much of the activations' spread over channels moves into the weights (SmoothQuant's alpha); None: nothing is moved.
STRENGTHS = (None, 0.5, 0.65, 0.8)
TINY = 1e-5
PEAK_INPUTS = 512  # enough to meet the largest activations
HARDEST = 128  # inputs on which the products' harm is measured: those that quantisation changes most
KEPT_SHARE = 0.25  # of the products at most stay fp32, or little would be left to gain
Feeds = Mapping[str, NDArray[Any]]


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


def measure_peaks(model: bytes, inputs: Sequence[Feeds]) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of each channel of every activation that is multiplied by a constant matrix.

    Args:
        model: The fp32 ONNX file's bytes.
        inputs: Inputs of the model.

    Returns:
        By the activation's name, float32 of shape (channels,).
    """
    import onnx

    document = onnx.load_from_string(model)
    names = list(_products(document))
    document.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = _session(document.SerializeToString())
    peaks: dict[str, NDArray[np.float32]] = {}
    for feeds in inputs:
        for name, value in zip(names, session.run(names, dict(feeds)), strict=True):
            found = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            peaks[name] = np.maximum(peaks.get(name, found), found)
    return peaks


def smooth(model: bytes, peaks: Mapping[str, NDArray[np.float32]], strength: float) -> bytes:
    """Divide each channel of the activations by a factor and multiply its row of the weights by it: the same products, easier to round.

    One scale for a whole activation is as coarse as its largest channel needs; this evens the channels out (SmoothQuant:
    Xiao et al., arXiv:2211.10438).

    Args:
        model: The fp32 ONNX file's bytes.
        peaks: Of :func:`measure_peaks`.
        strength: How much moves from activations to weights, in (0, 1).
    """
    import onnx
    from onnx import helper, numpy_helper

    document = onnx.load_from_string(model)
    weights = {tensor.name: tensor for tensor in document.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    products = _products(document)
    smoothed: set[str] = set()
    for node in document.graph.node:
        name = node.input[0] if node.input else ""
        if name in products and any(node is product for product in products[name]):
            if name not in smoothed:
                smoothed.add(name)
                rows = {product.input[1]: numpy_helper.to_array(weights[product.input[1]]) for product in products[name]}
                factor = _factor(peaks[name], np.concatenate(list(rows.values()), axis=1), strength)
                for weight, value in rows.items():
                    weights[weight].CopyFrom(numpy_helper.from_array(value * factor[:, None], weight))
                document.graph.initializer.append(numpy_helper.from_array(1 / factor, f"{name}_smoothing"))
                nodes.append(helper.make_node("Mul", [name, f"{name}_smoothing"], [f"{name}_smoothed"], name=f"{name}_smooth"))
            node.input[0] = f"{name}_smoothed"
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del document.graph.node[:]
    document.graph.node.extend(copies)
    return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def products_of(model: bytes) -> list[str]:
    """The names of the products that :func:`smooth` can even out: plain ones with constant matrices."""
    import onnx

    return [node.name for nodes in _products(onnx.load_from_string(model)).values() for node in nodes]


def _products(document: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """By the activation's name, the products of it with matrices that belong to it alone."""
    uses: dict[str, int] = defaultdict(int)
    for node in document.graph.node:
        for name in node.input:
            uses[name] += 1
    matrices = {tensor.name for tensor in document.graph.initializer if len(tensor.dims) == 2 and uses[tensor.name] == 1}
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in document.graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            found[node.input[0]].append(node)
    return found


def _factor(peaks: NDArray[np.float32], rows: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """float32 of shape (channels,), with a geometric mean of 1."""
    factor = np.maximum(peaks, TINY) ** strength / np.maximum(np.abs(rows).max(axis=1), TINY) ** (1 - strength)
    return np.asarray(factor / np.exp(np.log(factor).mean()), np.float32)


def answer(model: bytes, inputs: Sequence[Feeds]) -> NDArray[np.float64]:
    """Probabilities, float64 of shape (inputs, classes)."""
    session = _session(model)
    with ThreadPoolExecutor(cpu_limit()) as pool:
        return np.concatenate(list(pool.map(lambda feeds: session.run(None, dict(feeds))[0], inputs))).astype(np.float64)


def _session(model: bytes) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


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
