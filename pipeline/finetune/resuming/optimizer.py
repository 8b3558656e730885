"""The state of an optimiser as a tree that can be written, and put back into the layout of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of each parameter by its number, and each group's choices, rates and betas among them.

    The tensors are the optimiser's own, not copies.
    """
    document = optimizer.state_dict()
    return {
        "state": {str(number): dict(values) for number, values in document["state"].items()},
        "groups": document["param_groups"],
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Go on from a state that :func:`optimizer_state` returned, of an optimiser with the same parameters.

    Moments are put into the memory layout of their parameter, such as channels_last: fused kernels go over
    the memory of both at once, and other layouts take other kernels, which may round differently.

    Args:
        optimizer: The optimiser.
        state: The state; its tensors are copied.
    """
    optimizer.state.clear()
    number = 0
    for group, kept in zip(optimizer.param_groups, state["groups"], strict=True):
        for name, value in kept.items():
            if name != "params":
                group[name] = tuple(value) if isinstance(value, list) else value
        for parameter in group["params"]:
            values = state["state"].get(str(number), {})
            number += 1
            if values:  # what has had no gradients yet has none
                optimizer.state[parameter] = {
                    name: _like(value, parameter, on_device=name != "step" or bool(group.get("fused")))
                    for name, value in values.items()
                }


def _like(value: Any, parameter: torch.Tensor, *, on_device: bool) -> Any:  # noqa: ANN401 - or another value
    """Return a copy of a tensor of an optimiser's state, in the parameter's layout if it has its shape.

    Args:
        value: The tensor, or another value, which is returned.
        parameter: The parameter.
        on_device: Whether torch keeps it on the parameter's device; otherwise it stays on the CPU.
    """
    if not isinstance(value, torch.Tensor):
        return value
    if value.shape != parameter.shape:
        return value.to(parameter.device if on_device else "cpu", copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
