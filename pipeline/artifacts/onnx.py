"""The export of a torch module to ONNX, the same bytes every time."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of

OPSET = 20
LARGEST_FILE = 2_000_000_000
"""Bytes of tensors past which they go into a file of their own: an ONNX file must stay below 2 GiB."""


@dataclass(frozen=True)
class OnnxModel:
    """An exported model.

    Attributes:
        content: The bytes of the ONNX file.
        tensors: The file that holds its tensors, by whose name it refers to it; None, the default, where it
            holds them itself.
    """

    content: bytes
    tensors: Path | None = None

    def size(self) -> int:
        """Return the number of bytes of both files."""
        return len(self.content) + (self.tensors.stat().st_size if self.tensors else 0)


def to_onnx(
    module: nn.Module,
    example: Mapping[str, NDArray[Any]],
    *,
    output_name: str,
    metadata: Mapping[str, str],
    dynamic_axes: Mapping[str, Sequence[str | None]],
    tensors: Path | None = None,
) -> OnnxModel:
    """Export a module to ONNX.

    Args:
        module: A module that takes named tensors and returns one tensor, in evaluation mode, on the CPU.
        example: Input arrays by their names. A dynamic axis has length 2 or more in them, since a length of 1
            would be taken for a constant.
        output_name: Name of the graph's output.
        metadata: Keys and values that are written into the file's metadata.
        dynamic_axes: For each input the names of its leading axes; None for an axis that is as long as the
            example's. Without any dynamic axis the export is faster.
        tensors: Path of the file that is written if the tensors are too large for the ONNX file itself; None,
            the default, where they must not be.

    Returns:
        The model: opset 20, without any path of the machine that wrote it.

    Raises:
        GraftError: The exporter cannot export the module, or fixed an axis that has to vary, or the tensors
            are too large.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    size = _size_of(module)
    if size <= LARGEST_FILE:
        tensors = None
    elif tensors is None:
        raise GraftError(f"the tensors have {size / 1e9:.1f} GB, which is more than fits into one ONNX file")
    program = _export(module, example, output_name, dynamic_axes)
    model = _as_one_file(program) if tensors is None else _as_two_files(program, tensors)
    _require_dynamic_axes(model, dynamic_axes)
    _clear_traces(model)
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])
    content = model.SerializeToString(deterministic=True)
    _check(content, tensors)
    return OnnxModel(content, tensors)


def _size_of(module: nn.Module) -> int:
    """Return the number of bytes of a module's parameters and buffers, each counted once."""
    return sum(value.nbytes for value in (*module.parameters(), *module.buffers()))


def _export(
    module: nn.Module,
    example: Mapping[str, NDArray[Any]],
    output_name: str,
    dynamic_axes: Mapping[str, Sequence[str | None]],
) -> torch.onnx.ONNXProgram:
    """Run torch's exporter, as :func:`to_onnx` describes it."""
    dimensions = {axis: torch.export.Dim(axis) for axes in dynamic_axes.values() for axis in axes if axis}
    shapes = {
        name: {i: dimensions[axis] for i, axis in enumerate(axes) if axis}
        for name, axes in dynamic_axes.items()
    }
    feeds = {name: torch.from_numpy(array) for name, array in example.items()}
    try:
        # Where it fails, the exporter prints whole graphs, of which the error says what matters.
        silence = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
        with warnings.catch_warnings(), silence[0], silence[1], torch.no_grad(), _plain_attention(module):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Positional(module, list(feeds)), tuple(feeds.values()), dynamo=True, opset_version=OPSET,
                external_data=False, optimize=True, verbose=False,
                input_names=list(feeds), output_names=[output_name],
                dynamic_shapes=(tuple(shapes[name] for name in feeds),) if dimensions else None,
            )  # fmt: skip
    except Exception as error:  # the exporter, and the network within it, raise many unrelated types
        raise GraftError(f"torch.onnx cannot export the network ({reason_of(_root(error))})") from error
    assert program is not None  # `dynamo=True` always returns one
    return program


def _root(error: BaseException) -> BaseException:
    """Return the error that an error comes from in the end: the exporter wraps it in advice of many lines."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _as_one_file(program: torch.onnx.ONNXProgram) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return an exported model with its tensors, as onnx holds it."""
    import onnx

    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    return onnx.load_from_string(buffer.getvalue())


def _as_two_files(program: torch.onnx.ONNXProgram, tensors: Path) -> Any:  # noqa: ANN401 - onnx is untyped
    """Write the tensors of an exported model into a file, and return the model that refers to it by name."""
    import onnx
    import onnx_ir

    graph = tensors.with_name(f".{tensors.name}.onnx")
    try:
        onnx_ir.save(program.model, graph, external_data=tensors.name)
        return onnx.load(graph, load_external_data=False)
    finally:
        graph.unlink(missing_ok=True)


def _require_dynamic_axes(
    model: Any,  # noqa: ANN401 - onnx is untyped
    dynamic_axes: Mapping[str, Sequence[str | None]],
) -> None:
    """Raise GraftError if an axis that has to vary is a constant of the graph."""
    for value in model.graph.input:
        for axis, dimension in zip(
            dynamic_axes.get(value.name, ()), value.type.tensor_type.shape.dim, strict=False
        ):
            if axis and not dimension.dim_param:
                raise GraftError(
                    f"torch.onnx cannot export the network with any length of the axis `{axis}`: it fixes it "
                    f"at {dimension.dim_value}"
                )


def _check(content: bytes, tensors: Path | None) -> None:
    """Let onnx check a model: all of it, or the graph alone where the tensors are in a file of their own."""
    import onnx

    if tensors is None:
        onnx.checker.check_model(content, full_check=True)
        return
    graph = tensors.with_name(f".{tensors.name}.check.onnx")
    try:
        graph.write_bytes(content)
        onnx.checker.check_model(str(graph))
    finally:
        graph.unlink(missing_ok=True)


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
