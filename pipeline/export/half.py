"""Half precision: the artifact ``onnx-fp16``, with weights in float16 and inputs and outputs as in fp32."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from torch import nn

from pipeline.modalities.training import Classifier


def to_half(classifier: Classifier) -> Classifier:
    """Return a copy of a classifier whose backbone computes in float16.

    Normalisation, pooling of tokens and softmax stay float32. The module that has the weights is halved and
    then exported, rather than a graph converted: with float32 around it nothing overflows but what the
    backbone itself computes.

    Args:
        classifier: The checkpoint's network in float32, which is left as it is.
    """
    half = copy.deepcopy(classifier)
    name = half.half_precision_part
    setattr(half, name, _Half(getattr(half, name).half()))
    return half


class _Half(nn.Module):
    """A float16 module between float32 ones.

    Floats are rounded on the way in and widened on the way out; ids and masks pass as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> torch.Tensor | SimpleNamespace:
        """Run the module; an encoder's output has the field ``last_hidden_state`` here too."""
        output = self.module(
            *map(_narrow, tensors), **{name: _narrow(value) for name, value in named.items()}
        )
        if isinstance(output, torch.Tensor):
            return output.float()
        return SimpleNamespace(last_hidden_state=output.last_hidden_state.float())


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of floats in float16, and any other as it is."""
    return tensor.half() if tensor.is_floating_point() else tensor
