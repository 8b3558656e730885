"""What may be kept of a training: weights, with their answers on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.keep.judging import Judged

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Candidate:
    """A model that may be kept.

    Attributes:
        name: What people call it, such as ``the best head`` or ``epoch 3``.
        epoch: The epoch that it comes from; 0 for the head on the untouched backbone.
        state: The network's tensors on the CPU, by the names that the checkpoint has.
        logits: Its logits on validation, float32 of shape (samples, classes).
        judged: How good it is on validation.
    """

    name: str
    epoch: int
    state: State
    logits: NDArray[np.float32]
    judged: Judged


def better(first: Candidate, second: Candidate) -> Candidate:
    """Return the candidate with the lower loss after calibration; the first of two equal ones."""
    return second if second.judged.loss < first.judged.loss else first


def copy_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a module's tensors, on the CPU."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in module.state_dict().items()
    }
