"""The tensors of weights as they are stored: safetensors or pickled ones, in one file or several.

No code that a file holds is ever run.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.text.reading.conversion import PICKLED, SAFE, conversion_of
from pipeline.modalities.text.reading.library import quiet
from pipeline.modalities.wrapped import harmless_classes, tensors_within

FILES = (SAFE, f"{SAFE}.index.json", PICKLED, f"{PICKLED}.index.json")
"""The files that hold weights, or the list of those that do, in the order in which they are looked for."""
OTHER_FORMATS = {
    "tf_model.h5": "TensorFlow's",
    "flax_model.msgpack": "Flax'",
    "*.gguf": "GGUF, which is quantised",
    "*.onnx": "ONNX",
    "consolidated*": "the original's, and not transformers'",
    "*.ckpt*": "TensorFlow's or Lightning's",
}


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a folder's weights by their names, each of the type that it is stored as.

    Args:
        folder: A folder in the hub's layout.

    Raises:
        GraftError: There are no weights, a file of them is missing or broken, or code would have to be run to
            read them.
    """
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None:
        raise GraftError(f"backbone.weights: {_what_is_there(folder)}")
    tensors: dict[str, torch.Tensor] = {}
    for path in _files_of(found):
        tensors |= _read_file(path)
    return tensors


def _what_is_there(folder: Path) -> str:
    """Return what a folder without weights has instead, and the remedy."""
    for pattern, format_ in OTHER_FORMATS.items():
        for path in sorted(folder.glob(pattern)):
            return (
                f"{folder} has no {SAFE}, and its {path.name} is {format_}. Load it where it came from, and "
                "save it with transformers' save_pretrained()."
            )
    return f"{folder} has neither {SAFE} nor {PICKLED}. Give a folder with the weights of an encoder."


def _files_of(found: Path) -> list[Path]:
    """Return the files that hold the tensors: the file itself, or those that an index lists."""
    if found.suffix != ".json":
        return [found]
    try:
        names = sorted(set(json.loads(found.read_bytes())["weight_map"].values()))
        paths = [found.parent / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraftError(f"backbone.weights: {found} cannot be read ({reason_of(error)}).") from error
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise GraftError(
            f"backbone.weights: {found} lists files that are not there: {', '.join(missing[:5])}. Add them."
        )
    return paths


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of one file."""
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            # The tensors are views of the file, and would change with it while they are trained.
            return {name: tensor.clone() for name, tensor in load_file(path).items()}
        with quiet(), torch.serialization.safe_globals(harmless_classes()):
            tensors = tensors_within(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # on broken bytes torch and safetensors raise types of half a dozen libraries
        broken = "PytorchStreamReader" in str(error) or not _is_pickled(path)
        if path.suffix == ".safetensors" or broken:
            raise GraftError(
                f"backbone.weights: {path} cannot be read ({reason_of(error)}). Copy it again."
            ) from error
        raise GraftError(
            f"backbone.weights: {path} holds more than tensors, and is not read, because that would run its "
            f"code. {conversion_of(path, str(error))}"
        ) from error
    if not tensors:
        raise GraftError(
            f"backbone.weights: {path} holds no mapping of tensors by their names, such as "
            "torch.save(model.state_dict(), FILE) writes. Save it so."
        )
    return tensors


def _is_pickled(path: Path) -> bool:
    """Say whether a file begins as torch's do: as an archive, or as a pickle."""
    with path.open("rb") as file:
        return file.read(2) in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}
