"""The products of activations with constant matrices: what an encoder spends its time on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serving.model.runtimes.ort import load_onnxruntime

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Product:
    """A plain product of an activation with a matrix that no other node uses.

    Attributes:
        name: Name of the node.
        weight: Name of the matrix.
        matrix: The matrix itself, float32 of shape (channels, outputs).
    """

    name: str
    weight: str
    matrix: NDArray[np.float32]


Products = Mapping[str, Sequence[Product]]
"""The products of each activation, by the activation's name."""


def read_products(model: bytes) -> tuple[onnx.ModelProto, Products]:
    """Read an ONNX file and find its products, but for the head's.

    The head is small, and every error in it is an error of a logit.

    Args:
        model: The bytes of the fp32 ONNX file.

    Returns:
        The document, whose Gemms are turned into products and sums, since GPT-2's layers are Gemms; and the
        products by the names of their activations.
    """
    import onnx
    from onnx import numpy_helper

    onnx_model = load_onnxruntime("onnxruntime.quantization.onnx_model")
    wrapped = onnx_model.ONNXModel(onnx.load_from_string(model))
    wrapped.replace_gemm_with_matmul()
    document = wrapped.model
    uses = Counter(name for node in document.graph.node for name in node.input)
    matrices = {
        tensor.name: tensor
        for tensor in document.graph.initializer
        if len(tensor.dims) == 2 and uses[tensor.name] == 1
    }
    nodes = [node for node in document.graph.node if node.op_type == "MatMul" and node.input[1] in matrices]
    products: dict[str, list[Product]] = defaultdict(list)
    for node in nodes[:-1]:
        products[node.input[0]].append(
            Product(node.name, node.input[1], numpy_helper.to_array(matrices[node.input[1]]))
        )
    return document, dict(products)
