"""A temperature of its own for each precision: 8 bits, and less so 16, compress a model's confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.calibration import as_logits, fit_temperature, softmax
from pipeline.evaluate.reference import Answers


def correction(probabilities: NDArray[np.floating], exact: Answers, temperature: float) -> float:
    """By how much an artifact's temperature has to differ from the checkpoint's, as a factor.

    Both temperatures are fitted anew on the same samples, so that an artifact that answers as the checkpoint does gets exactly 1.

    Args:
        probabilities: The artifact's on validation, shape (samples, classes).
        exact: The checkpoint's answers to the same samples.
        temperature: What the artifact divides its logits by.
    """
    found = fit_temperature(as_logits(probabilities, temperature), exact.targets)
    return found / fit_temperature(as_logits_of(exact, temperature), exact.targets)


def as_logits_of(exact: Answers, temperature: float) -> NDArray[np.float64]:
    """The checkpoint's logits as a served artifact can hold them: what float32 cannot say of a probability is lost to both."""
    return as_logits(softmax(exact.logits, temperature), temperature)


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
    if last.op_type != "Softmax" or division is None or division.op_type != "Div" or division.input[1] not in constants:
        raise ValueError(f"the graph ends in {division.op_type if division else 'an input'} and {last.op_type}, not in Div and Softmax")
    divisor = numpy_helper.to_array(constants[division.input[1]])
    own = f"{last.name}_temperature"  # the constant may have other uses
    document.graph.initializer.append(numpy_helper.from_array((divisor * np.float32(factor)).astype(divisor.dtype), own))
    division.input[1] = own
    return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
