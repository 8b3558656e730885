"""A session of ONNX Runtime on an exported model, for the steps of making one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.onnx import OnnxModel
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.ort import load_onnxruntime

TENSORS_FOLDER = "session.model_external_initializers_file_folder_path"


def create_session(model: OnnxModel) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """Open an ONNX Runtime session on the CPU with one thread, for the steps of making a model.

    What is served is opened by :mod:`serving.model.runtimes` instead.

    Args:
        model: The model.
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if model.tensors is not None:
        options.add_session_config_entry(TENSORS_FOLDER, str(model.tensors.parent))
    return ort.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])


def answer(model: bytes, inputs: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.float64]:
    """Run a model on single inputs, several at once on all CPUs.

    Args:
        model: The bytes of an ONNX file that holds its own tensors.
        inputs: For each run the input arrays by their names, with a batch axis of length 1.

    Returns:
        The model's outputs, float64 of shape (inputs, outputs).
    """
    session = create_session(OnnxModel(model))
    with ThreadPoolExecutor(cpu_limit()) as pool:
        return np.concatenate(list(pool.map(lambda feeds: session.run(None, dict(feeds))[0], inputs))).astype(
            np.float64
        )
