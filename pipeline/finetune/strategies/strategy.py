"""The seam of a training strategy.

Another way to train is one more file in this room, and its name in
:mod:`pipeline.finetune.strategies.registry` and in the recipe's ``finetune.mode``. Neither the loop nor the
stage asks which strategy it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch

from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.modalities.training import Classifier, ParameterGroup


class Strategy(Protocol):
    """The choice of what trains in a classifier, at which rate, and when."""

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Set the head that training starts from, and change the modules, before training.

        Args:
            classifier: A copy of the pretrained classifier, on the CPU, which this training may change.
            prepared: What the training starts from, with its heads.
            plan: The plan of the training.

        Raises:
            GraftError: The backbone cannot be trained in this way.
        """
        ...

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return the groups of parameters that train, each with its rate, as torch's optimisers take them.

        Args:
            classifier: The classifier, on the plan's device.
            plan: The plan of the training.

        Returns:
            The groups, each with a learning rate of its own. If there are none, nothing trains, and the
            best head is the result.
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

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return a copy of the weights on the CPU, as a network without this strategy's changes has them."""
        ...
