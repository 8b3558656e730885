"""Smaller numbers: further artifacts, made from the fp32 ONNX file."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path


def quantize_dynamic(model: bytes) -> bytes:
    """8-bit weights, one scale a column; activations are quantised as they come (onnxruntime's dynamic quantisation).

    Only matrix products are quantised: an embedding would lose accuracy without becoming faster. Weights use 7 bits, since on
    CPUs without VNNI the sum of two 8-bit products overflows 16 bits and the answers would depend on the CPU.

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
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize(
            document, path, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
        )  # fmt: skip
        quantized = onnx.load(path)
    known = {item.key for item in quantized.metadata_props}
    for key in sorted(metadata.keys() - known):
        quantized.metadata_props.add(key=key, value=metadata[key])
    return quantized.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
