"""A torch module to one ONNX file, the same bytes every time."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

OPSET = 20


def to_onnx(
    module: nn.Module, example: torch.Tensor, *, input_name: str, output_name: str, metadata: Mapping[str, str], dynamic_batch: bool = True
) -> bytes:
    """Export a module.

    Args:
        module: One tensor in, one tensor out; in evaluation mode, on the CPU.
        example: An input; with a dynamic batch one of batch 2, since a batch of 1 would be taken for a constant.
        input_name: Name of the graph's input.
        output_name: Name of the graph's output.
        metadata: Written into the file's metadata.
        dynamic_batch: Whether the file takes any batch, or only the example's: the export is then faster.

    Returns:
        The file's bytes: opset 20, self-contained, without any path of the machine that wrote it.
    """
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention(module):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, opset_version=OPSET, external_data=False, optimize=True, verbose=False,
            input_names=[input_name], output_names=[output_name], dynamic_shapes=shapes,
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


@contextmanager
def _plain_attention(module: nn.Module) -> Iterator[None]:
    """Attention as plain operators, which gives a cleaner graph; timm decides it when a layer is made, and it is put back."""
    fused = [layer for layer in module.modules() if getattr(layer, "fused_attn", False)]
    for layer in fused:
        layer.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer in fused:
            layer.fused_attn = True  # type: ignore[assignment]


def _clear_traces(model: object) -> None:
    """Remove the stack traces, with their source paths, that the exporter leaves on graph, nodes and values."""
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = ""
    for item in [*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del item.metadata_props[:]
        item.doc_string = ""
