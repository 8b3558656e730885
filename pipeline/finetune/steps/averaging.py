"""The moving average of the weights, which is judged and kept instead of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

# The average is over about the last tenth of the steps: a fixed decay such as 0.9998 would do nothing in the
# hundred steps of a small training.
HORIZON = 0.1


def decay_at(step: int, steps: int) -> float:
    """Return the share of the average that a step leaves, in [0, 1).

    The horizon grows with the steps (arXiv:2312.02696), so that after any epoch the average is over the last
    tenth of the steps so far, and never over the first ones.

    Args:
        step: Number of the step, from 1.
        steps: Number of steps of the whole training, past which the horizon grows no more.
    """
    return 1 - 1 / max(1.0, HORIZON * min(step, steps))


class WeightAverage:
    """The moving average of what changes in a network: parameters that train, and floating-point buffers.

    Buffers are the statistics of batch norms, which belong to the weights that they were measured with. What
    does not train, such as the weights beside low-rank adapters, is not copied.

    Args:
        module: The network, with the weights that training starts from.
        trained: The parameters of the network that train at some time.
        steps: Number of steps of the whole training.
    """

    def __init__(self, module: nn.Module, trained: list[torch.Tensor], steps: int) -> None:
        chosen = {id(parameter) for parameter in trained}
        self.steps = steps
        self.taken = 0
        self.weights = {name: value for name, value in module.named_parameters() if id(value) in chosen} | {
            name: value for name, value in module.named_buffers() if value.is_floating_point()
        }
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights, after a step."""
        self.taken += 1
        share = 1 - decay_at(self.taken, self.steps)
        averages, weights = list(self.average.values()), [value.detach() for value in self.weights.values()]
        if share == 1:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights within the block, which must not train."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, int | dict[str, torch.Tensor]]:
        """Return the number of steps taken as ``taken``, and a copy of the ``average`` on the CPU."""
        average = {name: value.cpu().clone() for name, value in self.average.items()}
        return {"taken": self.taken, "average": average}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state` returned."""
        self.taken = state["taken"]
        for name, value in self.average.items():
            value.copy_(state["average"][name])

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange weights and average, bit by bit, with memory for one tensor more."""
        for name, weight in self.weights.items():
            kept = weight.detach().clone()
            weight.copy_(self.average[name])
            self.average[name].copy_(kept)
