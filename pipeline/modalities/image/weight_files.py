"""The tensors that a file of weights holds, read without running any code that may be in it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import GraftError
from pipeline.modalities.image.weight_bytes import explain_bytes, kind_of, refuse_folder
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.wrapped import WRAPPERS, Tensors, harmless_classes, tensors_within

FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of weights in a folder, as libraries of the hub save them."""
INDEX = ".index.json"
THREE_WAYS = (
    "Three ways to give weights in the recipe: `weights: hub` with a network or a filled cache, "
    "`weights: FILE.safetensors` or `.pth`, or `weights: package:NAME/PATH` from an installed package."
)
_LOAD = 'd = torch.load({path}, "cpu", weights_only=False)'
_UNWRAP = "d = next((d[k] for k in {keys} if isinstance(d, dict) and d.get(k) is not None), d)"
_STATE = 'd = d.state_dict() if hasattr(d, "state_dict") else d'
_SAVE = "torch.save({{k: v for k, v in d.items() if torch.is_tensor(v)}}, {target})"


def read_tensors(path: Path) -> Tensors:
    """Read the named tensors of a file, of the shards that an index names, or of a folder that holds either.

    What trainings save around the network (``state_dict``, ``model``, ``model_ema``, ``module``, an
    optimiser, numbers) is taken off; dictionaries within each other become names with dots.

    Args:
        path: A file of safetensors, or one that ``torch.save`` wrote, whatever the endings of their names.

    Raises:
        GraftError: It holds something else than named tensors, or objects that only running code could read;
            then the error names the conversion.
    """
    path = file_of(path)
    if path.name.endswith(INDEX):
        return _read_shards(path)
    tensors = tensors_within(_open(path))
    if not tensors:
        raise GraftError(f"backbone.weights: {path} does not hold named tensors. {THREE_WAYS}")
    return tensors


def _read_shards(index: Path) -> Tensors:
    """Read the tensors of all the files that an index names."""
    try:
        files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise GraftError(f"backbone.weights: {index} is no index of weights ({reason_of(error)}).") from error
    missing = [name for name in files if not (index.parent / name).is_file()]
    if missing:
        raise GraftError(
            f"backbone.weights: {index} names `{missing[0]}`, which is not beside it. Put it there."
        )
    return {name: value for file in files for name, value in read_tensors(index.parent / file).items()}


def file_of(path: Path) -> Path:
    """Return the file of weights, or the index of them, that a folder holds; of a file itself.

    Raises:
        GraftError: The folder holds none under their usual names.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in FILES if (path / name).is_file()), None)
    if found is None:
        raise refuse_folder(path, (FILES[0], "pytorch_model.bin"))
    return found


def keeps_no_order(path: Path) -> bool:
    """Say whether a file is one of safetensors, or an index of such, whose tensors have no order."""
    return path.name == FILES[1] or (path.is_file() and kind_of(path) == "safetensors")


def _open(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Return what a file holds, by its first bytes, whatever its name ends with."""
    try:
        kind = kind_of(path)
        if kind == "safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # torch reads a path, but not an open file, by the ending of its name.
        with torch.serialization.safe_globals(harmless_classes()), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    # On bytes that are no weights, torch and safetensors raise types of half a dozen libraries.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> GraftError:
    """Return the error for a file that torch or safetensors cannot read: what it is, and what to do.

    Only what was pickled may be converted by running what is in it, so that nothing else is advised to be.
    """
    if isinstance(error, OSError) and error.errno is not None:  # it is not there, or may not be read
        return GraftError(f"backbone.weights: {path} cannot be read as weights ({reason_of(error)}).")
    kind, known = kind_of(path), explain_bytes(path)
    if known is not None:
        what, remedy = known
        return GraftError(
            f"backbone.weights: {path} cannot be read as weights ({what}). {remedy or THREE_WAYS}"
        )
    conversion = _conversion(path, str(error)) if kind in {"zip", "pickle"} else ""
    reason = "it is of no kind that is known" if kind == "other" else reason_of(error)
    # Where a conversion is named, torch's own advice beside it would be another, riskier one.
    why = conversion or f" ({reason})."
    return GraftError(f"backbone.weights: {path} cannot be read as weights{why} {THREE_WAYS}")


def _conversion(path: Path, message: str) -> str:
    """Return the sentence with the command that makes named tensors of a file; empty where none would help.

    Args:
        path: The file.
        message: What torch says of it.
    """
    target = json.dumps(str(path.with_name(f"{path.stem}-tensors.pth")))
    source = json.dumps(str(path))
    if "TorchScript" in message:
        code = f'import torch; torch.save(torch.jit.load({source}, "cpu").state_dict(), {target})'
        what = "It is a TorchScript archive"
    elif "WeightsUnpickler" in message or "Unsupported" in message or "GLOBAL" in message:
        steps = [_LOAD.format(path=source), _UNWRAP.format(keys=str(WRAPPERS).replace("'", '"')), _STATE]
        code = "; ".join(["import torch", *steps, _SAVE.format(target=target)])
        what = "It holds pickled objects, whose reading runs code"
    else:
        return ""
    return (
        f". {what}: where you trust it, convert it once, in an environment that has its classes, and name the"
        f" result: python -c {shlex.quote(code)}"
    )
