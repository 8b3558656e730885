"""Post-hoc logit adjustment (arXiv:2007.07314): the classes' shares are taken out of the answers."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.keep.candidates import Candidate, copy_state
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.start.prepared import Prepared
from pipeline.modalities.training import Classifier


def adjusted(kept: Candidate, prepared: Prepared) -> Candidate:
    """Return what is kept of a training with the classes' shares taken out of its answers.

    The adjustment is in the head's bias, so that nothing after training knows of it.

    Args:
        kept: What is kept of the training.
        prepared: What the training started from, with the strength of the adjustment, which may be 0.
    """
    balance = prepared.balance
    if balance.adjustment == 0:
        return kept
    shift = shift_of(np.array(balance.sizes), balance.adjustment)
    bias = bias_of(prepared.classifier, prepared.best_head.weight)
    state = {**kept.state, bias: kept.state[bias] + torch.from_numpy(shift).to(kept.state[bias].dtype)}
    logits = kept.logits + shift
    return replace(
        kept,
        state=state,
        logits=logits,
        judged=judge(prepared.task, logits, prepared.validation.targets),
    )


def shift_of(sizes: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    """Return what is added to each logit, float32 of shape (classes,), with a mean of 0.

    Args:
        sizes: How much of the training split is of each class, float64 of shape (classes,), all above 0.
        strength: What the logarithms of the shares are multiplied by.
    """
    logs = np.log(sizes)
    return np.asarray(-strength * (logs - logs.mean()), np.float32)


def bias_of(classifier: Classifier, weight: NDArray[np.float32]) -> str:
    """Return the name that the head's bias has in the checkpoint: what changes when another bias is set.

    Args:
        classifier: A classifier, which is not changed.
        weight: A matrix of the head, float32 of shape (classes, features).
    """
    copied, states = copy.deepcopy(classifier), []
    for value in (0.0, 1.0):
        copied.set_head(weight, np.full(len(weight), value, np.float32))
        states.append(copy_state(copied.saved()))
    first, second = states
    (name,) = (name for name, tensor in first.items() if not torch.equal(tensor, second[name]))
    return name
