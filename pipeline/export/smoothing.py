"""Even out the channels of activations, so that 8 bits say more of each (SmoothQuant: Xiao et al., arXiv:2211.10438)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.onnx import create_session
from serving.inputs.item import Feeds

if TYPE_CHECKING:
    import onnx

TINY = 1e-5


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
    session = create_session(document.SerializeToString())
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
