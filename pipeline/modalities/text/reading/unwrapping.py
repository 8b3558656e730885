"""The tensors within what a training saved around them, and the command that leaves nothing but them."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which trainings save their network beside other things."""
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
_STEPS = (
    "import torch",
    "from safetensors.torch import save_file",
    "d = {load}",
    # The keys are within each other in some files, and under the last may be a network itself.
    "[d := next((d[k] for k in {keys} if isinstance(d, dict) and (isinstance(d.get(k), dict) or "
    'hasattr(d.get(k), "state_dict"))), d) for _ in range(4)]',
    'd = d.state_dict() if hasattr(d, "state_dict") else d',
    "f = lambda d, p: {{n: v for k, x in d.items() for n, v in ("
    "{{p + str(k): x.detach().clone().contiguous()}} "
    'if torch.is_tensor(x) else f(x, p + str(k) + ".") if isinstance(x, dict) else {{}}).items()}}',
    '{write}(f(d, ""), {target})',
)


def unwrap(stored: object) -> dict[str, torch.Tensor]:
    """Return the tensors of what a file holds, those of mappings within others under names with dots.

    Args:
        stored: A mapping of tensors by their names, or a checkpoint around one, or anything else.

    Returns:
        The tensors by their names; none where there are none.
    """
    while isinstance(stored, Mapping):
        inner = next((stored[key] for key in WRAPPERS if isinstance(stored.get(key), Mapping)), None)
        if not inner:
            break
        stored = inner
    return _flat(stored, "")


def _flat(stored: object, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a mapping and of those within it."""
    if not isinstance(stored, Mapping):
        return {}
    tensors: dict[str, torch.Tensor] = {}
    for key, value in stored.items():
        if isinstance(value, torch.Tensor):
            tensors[f"{prefix}{key}"] = value
        else:
            tensors |= _flat(value, f"{prefix}{key}.")
    return tensors


def harmless_classes() -> list[Any]:
    """Return classes that trainings save beside tensors, and that only hold values: arguments, numbers."""
    scalar = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32")]
    return [argparse.Namespace, np.dtype, *types, scalar, (scalar, "numpy.core.multiarray.scalar")]


def conversion_of(path: Path, reason: str) -> str:
    """Return the sentence with the command that leaves nothing but tensors of a pickled file.

    One of several files is written over, because an index names it.

    Args:
        path: The file.
        reason: What torch says of it.
    """
    single = path.name == PICKLED
    source = json.dumps(str(path), ensure_ascii=False)
    scripted = "TorchScript" in reason
    load = (
        f'torch.jit.load({source}, "cpu")' if scripted else f'torch.load({source}, "cpu", weights_only=False)'
    )
    target = json.dumps(str(path.with_name(SAFE)), ensure_ascii=False) if single else source
    code = "; ".join(_STEPS).format(
        load=load,
        keys=str(WRAPPERS).replace("'", '"'),
        write="save_file" if single else "torch.save",
        target=target,
    )
    return (
        "Where you trust it, convert it once, in an environment that has its classes: "
        f"python -c {shlex.quote(code)}"
    )
