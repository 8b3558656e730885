"""The seam of a training strategy.

Another way to train (low-rank adapters, gradual unfreezing) is one more file in this room, and its name in
:mod:`pipeline.finetune.strategies.registry` and in the recipe's ``finetune.mode``. Neither the loop nor the
stage asks which strategy it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.finetune.plan import Plan
from pipeline.modalities.training import Classifier, ParameterGroup


class Strategy(Protocol):
    """The choice of what trains in a classifier, at which rate, and when.

    Every strategy starts from a linear head on the frozen backbone's features.
    """

    @property
    def head_samples(self) -> int | None:
        """Number of training samples that the head is fitted on, about and at most; None for all."""
        ...

    @property
    def penalties(self) -> Sequence[float]:
        """L2 penalties among which the head's is chosen, by the loss on validation."""
        ...

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return the groups of parameters that train, each with its rate, as torch's optimisers take them.

        Args:
            classifier: The classifier with its head.
            plan: The plan of the training, with learning rate, layer decay and weight decay.

        Returns:
            The groups, each with a learning rate of its own. If there are none, nothing trains, and the
            head is the result.
        """
        ...

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        """Set the modes of the modules, and what takes part, before an epoch.

        Args:
            classifier: The classifier that trains.
            plan: The plan of the training, which says whether batch statistics are frozen.
            epoch: Number of the epoch, from 1.
        """
        ...
