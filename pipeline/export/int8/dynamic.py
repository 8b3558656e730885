"""8-bit products for encoders: weights rounded beforehand, activations as they come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.artifacts.sessions import answer
from pipeline.export.int8.activations import measure_activations
from pipeline.export.int8.gptq import Rounded, round_weights
from pipeline.export.int8.harm import Quantised, Trial, is_close, keep_most_harmful
from pipeline.export.int8.products import Products, read_products
from pipeline.export.int8.smoothing import choose_factors
from serving.model.inputs.item import Feeds

if TYPE_CHECKING:
    import onnx

METHOD = "dynamic: 7-bit weights rounded by GPTQ, channels evened out by SmoothQuant"


@dataclass(frozen=True)
class Quantisation:
    """Everything that the int8 file is written from.

    Attributes:
        document: The fp32 model.
        products: The products that are quantised, by the names of their activations.
        factors: By the activation's name, what its channels are divided by, float32 of shape (channels,);
            None where they stay as they are.
        weights: The rounded matrices, by the names of the fp32 ones.
    """

    document: onnx.ModelProto
    products: Products
    factors: Mapping[str, NDArray[np.float32] | None]
    weights: Mapping[str, Rounded]

    def names(self) -> list[str]:
        """Return the names of the products."""
        return [product.name for multiplied in self.products.values() for product in multiplied]


def make_int8(model: bytes, inputs: Sequence[Feeds], limits: Limits) -> Quantised:
    """Quantise an encoder so that it changes its answers to some real inputs as little as can be.

    Only products with constant matrices are quantised: an embedding would lose accuracy without becoming
    faster.

    Args:
        model: The bytes of the fp32 ONNX file.
        inputs: Single inputs of the model, not of the test split.
        limits: The limits that the receipt will hold the file to.
    """
    exact = answer(model, inputs)
    plan = make_plan(model, inputs)

    def quantise(kept: Sequence[str], answered: Sequence[Feeds]) -> Quantised:
        int8 = write_int8(plan, kept)
        return Quantised(int8, METHOD, tuple(kept), answer(int8, answered))

    quantised = quantise((), inputs)
    if plan.products and not is_close(exact, quantised.answers, limits):
        quantised = keep_most_harmful(quantised, plan.names(), Trial(quantise, inputs, exact, limits))
    return quantised


def make_plan(model: bytes, inputs: Sequence[Feeds]) -> Quantisation:
    """Measure the activations, even out their channels, and round the weights.

    Args:
        model: The bytes of the fp32 ONNX file.
        inputs: Single inputs of the model, not of the test split.
    """
    document, products = read_products(model)
    activations = measure_activations(document, products, inputs) if products else {}
    factors: dict[str, NDArray[np.float32] | None] = {}
    weights: dict[str, Rounded] = {}
    for name, multiplied in products.items():
        chosen = choose_factors(
            activations[name], np.concatenate([product.matrix for product in multiplied], axis=1)
        )
        factors[name] = chosen
        divisors = np.ones(len(multiplied[0].matrix), np.float32) if chosen is None else chosen
        gram = activations[name].gram / np.outer(divisors, divisors)
        weights |= {
            product.weight: round_weights(product.matrix * divisors[:, None], gram) for product in multiplied
        }
    return Quantisation(document, products, factors, weights)


def write_int8(plan: Quantisation, kept: Collection[str]) -> bytes:
    """Write an int8 ONNX file, in which onnxruntime runs the nodes of each product as one.

    Args:
        plan: Everything that the file is written from.
        kept: Names of products that stay fp32.

    Returns:
        The bytes of the file, the same for the same arguments.
    """
    import onnx

    document = onnx.ModelProto.FromString(plan.document.SerializeToString())
    by_name = {
        product.name: (activation, product.weight)
        for activation, multiplied in plan.products.items()
        for product in multiplied
    }
    nodes: list[onnx.NodeProto] = []
    prepared: set[str] = set()
    for node in document.graph.node:
        if node.name not in by_name or node.name in kept:
            nodes.append(node)
            continue
        activation, weight = by_name[node.name]
        if activation not in prepared:
            prepared.add(activation)
            nodes += _quantise_activation(document, activation, plan.factors[activation])
        nodes += _multiply(document, node, activation, weight, plan.weights[weight])
    replaced = {weight for name, (_, weight) in by_name.items() if name not in kept}
    tensors = [tensor for tensor in document.graph.initializer if tensor.name not in replaced]
    _set(document.graph.node, nodes)
    _set(document.graph.initializer, tensors)
    del document.graph.value_info[:]  # it describes values that are no longer there
    onnx.checker.check_model(document)
    return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _quantise_activation(
    document: onnx.ModelProto, name: str, factors: NDArray[np.float32] | None
) -> list[onnx.NodeProto]:
    """Return the nodes that divide an activation by its factors, if it has any, and round it to 8 bits."""
    from onnx import helper, numpy_helper

    parts = [f"{name}_q", f"{name}_scale", f"{name}_zero"]
    if factors is None:
        return [helper.make_node("DynamicQuantizeLinear", [name], parts, name=f"{name}_quantize")]
    document.graph.initializer.append(
        numpy_helper.from_array((1 / factors).astype(np.float32), f"{name}_smoothing")
    )
    return [
        helper.make_node("Mul", [name, f"{name}_smoothing"], [f"{name}_smoothed"], name=f"{name}_smooth"),
        helper.make_node("DynamicQuantizeLinear", [f"{name}_smoothed"], parts, name=f"{name}_quantize"),
    ]


def _multiply(
    document: onnx.ModelProto, node: onnx.NodeProto, activation: str, weight: str, rounded: Rounded
) -> list[onnx.NodeProto]:
    """Return the nodes of an 8-bit product, and add its constants to the document.

    onnxruntime fuses the nodes into one, MatMulIntegerToFloat or DynamicQuantizeMatMul.
    """
    from onnx import TensorProto, helper, numpy_helper

    zeros = np.zeros(len(rounded.scales), np.int8)
    parts = {f"{weight}_q": rounded.whole, f"{weight}_scale": rounded.scales, f"{weight}_zero": zeros}
    document.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in parts.items())
    out, name = node.output[0], node.name
    operands = [f"{activation}_q", f"{weight}_q", f"{activation}_zero", f"{weight}_zero"]
    return [
        helper.make_node("MatMulInteger", operands, [f"{out}_whole"], name=f"{name}_whole"),
        helper.make_node(
            "Cast", [f"{out}_whole"], [f"{out}_float"], name=f"{name}_float", to=TensorProto.FLOAT
        ),
        helper.make_node(
            "Mul", [f"{activation}_scale", f"{weight}_scale"], [f"{out}_scales"], name=f"{name}_scales"
        ),
        helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out], name=f"{name}_scaled"),
    ]


def _set(field: object, messages: Sequence[object]) -> None:
    """Replace what a repeated field of a protobuf message holds; some of the messages may be in it."""
    copies = [
        type(message).FromString(message.SerializeToString())  # type: ignore[attr-defined]
        for message in messages
    ]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
