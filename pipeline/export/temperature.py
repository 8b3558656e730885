"""The temperature inside an ONNX file."""

from __future__ import annotations

import numpy as np


def scale_temperature(model: bytes, factor: float) -> bytes:
    """Multiply what an ONNX file divides its logits by, right before its softmax.

    Raises:
        ValueError: The graph does not end in a division by a constant and a softmax.
    """
    import onnx
    from onnx import numpy_helper

    document = onnx.load_from_string(model)
    made_by = {output: node for node in document.graph.node for output in node.output}
    last = made_by[document.graph.output[0].name]
    division = made_by.get(last.input[0])
    constants = {tensor.name: tensor for tensor in document.graph.initializer}
    if (
        last.op_type != "Softmax"
        or division is None
        or division.op_type != "Div"
        or division.input[1] not in constants
    ):
        raise ValueError(
            f"the graph ends in {division.op_type if division else 'an input'} and {last.op_type}, not in Div and Softmax"
        )
    divisor = numpy_helper.to_array(constants[division.input[1]])
    own = f"{last.name}_temperature"  # the constant may have other uses
    document.graph.initializer.append(
        numpy_helper.from_array((divisor * np.float32(factor)).astype(divisor.dtype), own)
    )
    division.input[1] = own
    return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
