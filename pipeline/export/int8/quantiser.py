"""onnxruntime's quantiser of convolutional networks, so used that it writes the same bytes every time."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.reporting.progress import track
from serving.model.inputs.item import Feeds
from serving.model.runtimes.ort import load_onnxruntime

if TYPE_CHECKING:
    import onnx

QUANTIZATION = "onnxruntime.quantization"
METHODS: dict[str, dict[str, Any]] = {
    "MinMax": {},
    # Symmetric, as onnxruntime has it, wastes levels below zero.
    "Percentile": {"percentile": 99.999, "symmetric": False},
    "Entropy": {},
}
CHUNK = 8  # inputs whose every activation is held at once: a few hundred MB at 224 pixels
# Residuals carry every layer's rounding on: in fp32 they leave a seventh of the divergence, and take hardly
# any time.
EXACT = {"Add"}
WEIGHTED = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Clip", "HardSwish", "Mul", "Relu", "Sigmoid")  # with SiLU, which is a product


def layers_of(model: bytes) -> list[str]:
    """Return the names of the layers with weights that :func:`quantize_static` quantises.

    Args:
        model: The bytes of the ONNX file, as :func:`preprocess` returns them.
    """
    import onnx

    document = onnx.load_from_string(model)
    weights = {tensor.name for tensor in document.graph.initializer}
    outside = set(_float_nodes(document))
    return [
        node.name
        for node in document.graph.node
        if node.op_type in WEIGHTED and node.input[1] in weights and node.name not in outside
    ]


def _float_nodes(document: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that stay fp32: to the first convolution, and from the classifier on.

    Pixels and logits need more than 8 bits, and these layers cost little. So does what the first convolution
    makes of pixels, where a depthwise convolution reads it: that is as fast in fp32.
    """
    nodes = document.graph.node
    first = next((index for index, node in enumerate(nodes) if node.op_type == "Conv"), -1)
    last = max((index for index, node in enumerate(nodes) if node.op_type in WEIGHTED), default=len(nodes))
    outside = [node.name for index, node in enumerate(nodes) if index <= first or index >= last]
    return [*outside, *_to_depthwise(document, first)] if first >= 0 else outside


def _to_depthwise(document: onnx.ModelProto, first: int) -> list[str]:
    """Return the names of the depthwise convolution that alone reads another one, and of what is between.

    Args:
        document: The model.
        first: Place of the other convolution among its nodes.

    Returns:
        The names; none where other layers read the first convolution too, or there is more than an activation
        function between the two.
    """
    reached, outputs = [], {document.graph.node[first].output[0]}
    for node in document.graph.node[first + 1 :]:
        if outputs.isdisjoint(node.input):
            continue
        reached.append(node)
        if node.op_type in ACTIVATIONS:
            outputs |= set(node.output)
    layers = [node for node in reached if node.op_type not in ACTIVATIONS]
    grouped = [each.i > 1 for node in layers for each in node.attribute if each.name == "group"]
    is_depthwise = len(layers) == 1 and layers[0].op_type == "Conv" and grouped == [True]
    return [node.name for node in reached] if is_depthwise else []


def preprocess(model: bytes) -> bytes:
    """Prepare a model for the quantiser: fold its batch norms, note its shapes and name its nodes.

    Args:
        model: The bytes of the fp32 ONNX file.

    Returns:
        The bytes of an ONNX file that computes the same.
    """
    import onnx

    quantization = load_onnxruntime(QUANTIZATION)
    document = onnx.load_from_string(model)
    # Its shape inference trips over what the exporter notes of inner values.
    del document.graph.value_info[:]
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder, _silent():
        source, path = Path(folder) / "model.onnx", Path(folder) / "prepared.onnx"
        onnx.save(document, source)  # given a document, it would lose the weights (onnxruntime 1.31)
        quantization.quant_pre_process(source, path, skip_symbolic_shape=True)
        prepared = onnx.load(path)
    for index, node in enumerate(prepared.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    used = {node.domain for node in prepared.graph.node}
    # onnxruntime names every domain that it knows.
    imports = [each for each in prepared.opset_import if each.domain in used]
    del prepared.opset_import[:]
    prepared.opset_import.extend(imports)
    _set_metadata(prepared, document)
    return prepared.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def measure_ranges(prepared: bytes, inputs: Sequence[Feeds], method: str) -> Any:  # noqa: ANN401 - untyped
    """Measure the range that 8 bits shall cover of every activation.

    Args:
        prepared: The bytes of the ONNX file, as :func:`preprocess` returns them.
        inputs: Single inputs of the model.
        method: The calibration method, a key of ``METHODS``.

    Returns:
        onnxruntime's ``TensorsData``: the least and the largest value of each activation.
    """
    quantization = load_onnxruntime(QUANTIZATION)
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder, _silent():
        path = Path(folder) / "prepared.onnx"
        path.write_bytes(prepared)
        calibrator = quantization.create_calibrator(
            path, augmented_model_path=str(path.with_name("augmented.onnx")),
            calibrate_method=quantization.CalibrationMethod[method], extra_options=METHODS[method],
        )  # fmt: skip
    # It collects what it is given in one go before it counts, so it is given little at a time.
    starts = range(0, len(inputs), CHUNK)
    for start in track(starts, total=len(inputs), what=f"int8: {method}", unit="inputs", weight=CHUNK):
        with _silent():
            calibrator.collect_data(_Reader(inputs[start : start + CHUNK]))
    with _silent():
        return calibrator.compute_data()


class _Reader:
    """An iterator over inputs in the form of onnxruntime's ``CalibrationDataReader``."""

    def __init__(self, inputs: Sequence[Feeds]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next input; None after the last."""
        feeds = next(self._left, None)
        return None if feeds is None else dict(feeds)


def quantize_static(
    prepared: bytes,
    ranges: Any,  # noqa: ANN401 - onnxruntime is untyped
    kept: Sequence[str] = (),
) -> bytes:
    """Write weights in 7 bits, one scale an output channel, and scales for activations in 8 bits.

    Weights use 7 bits, since on CPUs without VNNI the sum of two 8-bit products overflows 16 bits, and the
    answers would depend on the CPU.

    Args:
        prepared: The bytes of the ONNX file, as :func:`preprocess` returns them.
        ranges: The ranges of the activations, as :func:`measure_ranges` returns them.
        kept: Names of layers that stay fp32, beside the first convolution and the classifier; none by
            default.

    Returns:
        The bytes of the int8 ONNX file, the same every time, with the metadata of the fp32 file.
    """
    import onnx

    quantization, registry = load_onnxruntime(QUANTIZATION), load_onnxruntime(f"{QUANTIZATION}.registry")
    document = onnx.load_from_string(prepared)
    types = quantization.QuantType
    with _silent():
        quantizer = quantization.QDQQuantizer(
            onnx.load_from_string(prepared),
            per_channel=True,
            reduce_range=True,
            weight_qType=types.QInt8,
            activation_qType=types.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[*_float_nodes(document), *kept],
            op_types_to_quantize=sorted({*registry.QDQRegistry, *registry.QLinearOpsRegistry} - EXACT),
            extra_options={},
        )
        quantized: onnx.ModelProto = quantizer.quantize_model()
    quantizer.model.topological_sort()
    del quantized.graph.value_info[:]
    _set_metadata(quantized, document)
    return quantized.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _set_metadata(changed: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Give a file the metadata of its source and nothing else: onnxruntime's quantiser notes what it did."""
    metadata = sorted((item.key, item.value) for item in source.metadata_props)
    del changed.metadata_props[:]
    for key, value in metadata:
        changed.metadata_props.add(key=key, value=value)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep onnxruntime's quantiser from printing and from giving advice within the block."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
