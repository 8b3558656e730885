"""The temperature inside an ONNX file."""

from __future__ import annotations

import numpy as np


def scale_temperature(model: bytes, factor: float) -> bytes:
    """Multiply what an ONNX file divides its logits by, right before its softmax.

    Args:
        model: The bytes of an ONNX file that ends in a division by a constant and a softmax.
        factor: What the temperature is multiplied by, above 0.

    Returns:
        The bytes of the changed file.

    Raises:
        ValueError: The graph does not end in a division by a constant and a softmax.
    """
    import onnx
    from onnx import numpy_helper

    document = onnx.load_from_string(model)
    producers = {output: node for node in document.graph.node for output in node.output}
    last = producers[document.graph.output[0].name]
    division = producers.get(last.input[0])
    constants = {tensor.name: tensor for tensor in document.graph.initializer}
    if (
        last.op_type != "Softmax"
        or division is None
        or division.op_type != "Div"
        or division.input[1] not in constants
    ):
        before = division.op_type if division else "an input"
        raise ValueError(f"the graph ends in {before} and {last.op_type}, not in Div and Softmax")
    divisor = numpy_helper.to_array(constants[division.input[1]])
    name = f"{last.name}_temperature"  # a constant of its own, since the other may have further uses
    document.graph.initializer.append(
        numpy_helper.from_array((divisor * np.float32(factor)).astype(divisor.dtype), name)
    )
    division.input[1] = name
    return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
