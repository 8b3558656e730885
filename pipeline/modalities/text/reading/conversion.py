"""The command that leaves nothing but tensors of what a training saved around them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from pipeline.modalities.wrapped import WRAPPERS

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
