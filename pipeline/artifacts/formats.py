"""The catalogue of formats: the model file of each, the runtime that serves it, and its precision."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.recipe.sections import Format
from serving.model.runtimes.session import Precision, Runtime

SOURCE: Format = "onnx-fp32"
SOURCE_FILE = "model.onnx"
TENSORS_FILE = "model.onnx.data"
"""The file of the tensors of a model that is too large for one ONNX file."""


@dataclass(frozen=True)
class Served:
    """How a format is served.

    Attributes:
        file: The model file's name; several formats may share one.
        runtime: The runtime that runs it.
        precision: Precision of its weights and arithmetic.
    """

    file: str
    runtime: Runtime
    precision: Precision


FORMATS: dict[Format, Served] = {
    "onnx-fp32": Served(SOURCE_FILE, "onnxruntime-cpu", "fp32"),
    "onnx-fp16": Served("model-fp16.onnx", "onnxruntime-cpu", "fp16"),
    "onnx-int8": Served("model-int8.onnx", "onnxruntime-cpu", "int8"),
    "openvino-fp32": Served(SOURCE_FILE, "openvino-cpu", "fp32"),
    "openvino-bf16": Served(SOURCE_FILE, "openvino-cpu", "bf16"),
    "cuda-fp32": Served(SOURCE_FILE, "onnxruntime-cuda", "fp32"),
    "cuda-fp16": Served("model-fp16.onnx", "onnxruntime-cuda", "fp16"),
    "tensorrt-fp32": Served("model-tensorrt-fp32.onnx", "onnxruntime-tensorrt", "fp32"),
    "tensorrt-fp16": Served("model-tensorrt-fp16.onnx", "onnxruntime-tensorrt", "fp16"),
}
