"""8-bit weights: the artifact ``onnx-int8``, made from the fp32 ONNX file."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.runtime import cpu_limit

if TYPE_CHECKING:
    import onnx

log = logging.getLogger("graft")
# How much of the activations' spread over channels moves into the weights (SmoothQuant's alpha); None: nothing is moved.
STRENGTHS = (None, 0.5, 0.65, 0.8)
TINY = 1e-5
Feeds = Mapping[str, NDArray[Any]]


def make_int8(model: bytes, inputs: Sequence[Feeds]) -> bytes:
    """Quantise a model dynamically, smoothed as strongly as is best on some real inputs.

    Args:
        model: The fp32 ONNX file's bytes.
        inputs: Single inputs of the model, not of the test split. What is best is what changes their answers least.

    Returns:
        The int8 ONNX file's bytes.
    """
    exact = _answers(model, inputs)
    peaks = measure_peaks(model, inputs)
    best: tuple[float, float | None, bytes] | None = None
    for strength in STRENGTHS:
        made = quantize_dynamic(model if strength is None else smooth(model, peaks, strength))
        divergence = _divergence(exact, _answers(made, inputs))
        if best is None or divergence < best[0]:
            best = divergence, strength, made
    assert best is not None
    smoothing = "without smoothing" if best[1] is None else f"smoothed with strength {best[1]}"
    log.info("int8: %s, mean KL from fp32 %.1e on %d inputs of validation", smoothing, best[0], len(inputs))
    return best[2]


def quantize_dynamic(model: bytes) -> bytes:
    """Weights of 7 bits, one scale a column; activations are quantised as they come (onnxruntime's dynamic quantisation).

    Only products with constant matrices are quantised: an embedding would lose accuracy without becoming faster. Weights use
    7 bits, since on CPUs without VNNI the sum of two 8-bit products overflows 16 bits, and the answers would depend on the CPU.

    Args:
        model: The fp32 ONNX file's bytes.

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
            document, path, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
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


def _answers(model: bytes, inputs: Sequence[Feeds]) -> NDArray[np.float64]:
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


def _divergence(exact: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence, in nats."""
    least = np.finfo(np.float32).tiny
    return float((exact * (np.log(np.maximum(exact, least)) - np.log(np.maximum(found, least)))).sum(axis=1).mean())


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep onnxruntime's quantiser from logging advice about static quantisation to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
