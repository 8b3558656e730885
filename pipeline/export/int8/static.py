"""8 bits for convolutional networks: weights rounded beforehand, activations by ranges of real pictures."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.artifacts.sessions import answer
from pipeline.export.int8.harm import Quantised, Trial, is_close, keep_most_harmful
from pipeline.measures.divergence import kl_divergences
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
JUDGED_EVERY = 4  # every fourth input does not calibrate, but judges how well the others did
# Inputs at most: a range is known by then, and a histogram takes a tenth of a second an input.
CALIBRATED = 128
CHUNK = 8  # inputs whose every activation is held at once: a few hundred MB at 224 pixels
# Residuals carry every layer's rounding on: in fp32 they leave a seventh of the divergence, and take hardly
# any time.
EXACT = {"Add"}
WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Prepared:
    """The fp32 model as the quantiser wants it, with the ranges of its activations.

    Attributes:
        model: The bytes of the ONNX file; batch norms are folded, shapes are noted.
        ranges: onnxruntime's ``TensorsData``: the least and the largest value of each activation.
        method: The calibration method that measured the ranges, a key of ``METHODS``.
    """

    model: bytes
    ranges: Any
    method: str

    def quantise(self, kept: Sequence[str], inputs: Sequence[Feeds]) -> Quantised:
        """Make the int8 model, and have it answer some inputs.

        Args:
            kept: Names of layers that stay fp32.
            inputs: Single inputs of the model.
        """
        int8 = quantize_static(self.model, self.ranges, kept)
        method = f"static: 7-bit weights, ranges by {self.method}"
        return Quantised(int8, method, tuple(kept), answer(int8, inputs))


def make_int8(model: bytes, inputs: Sequence[Feeds], limits: Limits) -> Quantised:
    """Quantise a convolutional network with fixed scales, at the least change of its answers to real inputs.

    Each calibration method measures the activations' ranges on most of the inputs; the one that changes the
    answers to the others least is taken. Then the layers that hurt most go back to fp32, where that is
    needed.

    Args:
        model: The bytes of the fp32 ONNX file.
        inputs: Single inputs of the model, of the calibration split; a few hundred.
        limits: The limits that the receipt will hold the file to.
    """
    exact = answer(model, inputs)
    prepared = _choose_method(preprocess(model), inputs, exact)
    quantised = prepared.quantise((), inputs)
    if not is_close(exact, quantised.answers, limits):
        trial = Trial(prepared.quantise, inputs, exact, limits)
        quantised = keep_most_harmful(quantised, layers_of(prepared.model), trial)
    return quantised


def is_convolutional(model: bytes) -> bool:
    """Return whether the work of an ONNX file is in convolutions.

    A transformer for pictures has one convolution, which cuts them into patches.
    """
    import onnx

    return [node.op_type for node in onnx.load_from_string(model).graph.node].count("Conv") > 1


def _choose_method(prepared: bytes, inputs: Sequence[Feeds], exact: NDArray[np.float64]) -> Prepared:
    """Calibrate with the method that changes the answers to inputs that it has not seen least.

    Args:
        prepared: The bytes of the ONNX file, as :func:`preprocess` returns them.
        inputs: Single inputs of the model, every fourth of which judges the methods.
        exact: The fp32 model's probabilities of the inputs, float64 of shape (inputs, classes).
    """
    held_back = inputs[::JUDGED_EVERY]
    others = [feeds for index, feeds in enumerate(inputs) if index % JUDGED_EVERY] or list(inputs)
    chosen = np.linspace(0, len(others) - 1, min(CALIBRATED, len(others))).round().astype(np.int64)
    seen = [others[index] for index in chosen]
    tried = [Prepared(prepared, measure_ranges(prepared, seen, method), method) for method in METHODS]
    return min(
        tried,
        key=lambda each: kl_divergences(exact[::JUDGED_EVERY], each.quantise((), held_back).answers).mean(),
    )


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

    Pixels and logits need more than 8 bits, and these layers cost little.
    """
    nodes = document.graph.node
    first = next((index for index, node in enumerate(nodes) if node.op_type == "Conv"), -1)
    last = max((index for index, node in enumerate(nodes) if node.op_type in WEIGHTED), default=len(nodes))
    return [node.name for index, node in enumerate(nodes) if index <= first or index >= last]


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
