"""The export of a torch module to one ONNX file, the same bytes every time; and a session on such a file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.ort import load_onnxruntime

OPSET = 20


def to_onnx(
    module: nn.Module,
    example: Mapping[str, NDArray[Any]],
    *,
    output_name: str,
    metadata: Mapping[str, str],
    dynamic_axes: Mapping[str, Sequence[str | None]],
) -> bytes:
    """Export a module as an ONNX file.

    Args:
        module: A module that takes named tensors and returns one tensor, in evaluation mode, on the CPU.
        example: Input arrays by their names. A dynamic axis has length 2 or more in them, since a length of 1
            would be taken for a constant.
        output_name: Name of the graph's output.
        metadata: Keys and values that are written into the file's metadata.
        dynamic_axes: For each input the names of its leading axes; None for an axis that is as long as the
            example's. Without any dynamic axis the export is faster.

    Returns:
        The file's bytes: opset 20, self-contained, without any path of the machine that wrote it.
    """
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    dimensions = {axis: torch.export.Dim(axis) for axes in dynamic_axes.values() for axis in axes if axis}
    shapes = {
        name: {i: dimensions[axis] for i, axis in enumerate(axes) if axis}
        for name, axes in dynamic_axes.items()
    }
    feeds = {name: torch.from_numpy(array) for name, array in example.items()}
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention(module):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Positional(module, list(feeds)), tuple(feeds.values()), dynamo=True, opset_version=OPSET,
            external_data=False, optimize=True, verbose=False,
            input_names=list(feeds), output_names=[output_name],
            dynamic_shapes=(tuple(shapes[name] for name in feeds),) if dimensions else None,
        )  # fmt: skip
    assert program is not None  # `dynamo=True` always returns one
    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    model = onnx.load_from_string(buffer.getvalue())
    _clear_traces(model)
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def create_session(model: bytes) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """Open an ONNX Runtime session on the CPU with one thread, for the steps of making a model.

    What is served is opened by :mod:`serving.model.runtimes` instead.

    Args:
        model: The bytes of an ONNX file.
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answer(model: bytes, inputs: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.float64]:
    """Run a model on single inputs, several at once on all CPUs.

    Args:
        model: The bytes of an ONNX file.
        inputs: For each run the input arrays by their names, with a batch axis of length 1.

    Returns:
        The model's outputs, float64 of shape (inputs, outputs).
    """
    session = create_session(model)
    with ThreadPoolExecutor(cpu_limit()) as pool:
        return np.concatenate(list(pool.map(lambda feeds: session.run(None, dict(feeds))[0], inputs))).astype(
            np.float64
        )


class _Positional(nn.Module):
    """A module of named inputs, wrapped to take them in order, as the exporter gives them."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.module(**dict(zip(self.names, tensors, strict=True)))  # type: ignore[no-any-return]


@contextmanager
def _plain_attention(module: nn.Module) -> Iterator[None]:
    """Let timm and transformers compute attention by plain operators within the block.

    This gives a cleaner graph. The way in which it was computed before is put back afterwards.
    """
    fused = [layer for layer in module.modules() if getattr(layer, "fused_attn", False)]
    encoders = [layer for layer in module.modules() if hasattr(layer, "set_attn_implementation")]
    before = [_attention_of(encoder) for encoder in encoders]
    for layer in fused:
        layer.fused_attn = False  # type: ignore[assignment]
    for encoder in encoders:
        encoder.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        yield
    finally:
        for layer in fused:
            layer.fused_attn = True  # type: ignore[assignment]
        for encoder, implementation in zip(encoders, before, strict=True):
            encoder.set_attn_implementation(implementation)  # type: ignore[operator]


def _attention_of(encoder: Any) -> str:  # noqa: ANN401 - a network of transformers, which is untyped
    """Return the name of the implementation of attention that an encoder uses."""
    name: str = encoder.config._attn_implementation  # noqa: SLF001 - it has no other name
    return name


def _clear_traces(model: object) -> None:
    """Remove the stack traces, and so the source paths, that the exporter leaves all over the graph."""
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = ""
    for item in [
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ]:
        del item.metadata_props[:]
        item.doc_string = ""
