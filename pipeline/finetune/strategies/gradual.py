"""The strategy ``gradual``: layers begin to train one after the other, from the top (arXiv:1801.06146)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.layered import require_layers
from pipeline.finetune.strategies.modes import open_only
from pipeline.modalities.training import Classifier, ParameterGroup

LEAST_GROUPS = 2
EVERYTHING = Full(head_first=True)


@dataclass(frozen=True)
class Gradual:
    """A training that opens the network from the top, group by group, as the backbone declares them.

    The topmost group opens with the head, which is fitted already. Which groups are open follows from the
    number of the epoch, so that a training can be resumed at any.
    """

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Set the gentle head.

        Raises:
            GraftError: The backbone declares fewer than two groups.
        """
        depths = _depths(classifier)
        if max(depths.values()) < LEAST_GROUPS:
            raise GraftError(
                "finetune.mode: gradual opens one group of layers after the other, but this backbone has only"
                " one. Use lp-ft."
            )
        EVERYTHING.begin(classifier, prepared, plan)

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return all parameters: what is not open yet has no gradients, and the optimiser passes over it."""
        return EVERYTHING.parameter_groups(classifier, plan)

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        """Open the groups whose turn has come; the others are in evaluation mode and have no gradients."""
        EVERYTHING.start_epoch(classifier, plan, epoch)
        depths = _depths(classifier)
        top = max(depths.values())
        lowest = top - open_groups(top, plan.epochs, epoch)
        open_only(classifier.saved(), {name for name, depth in depths.items() if depth >= lowest})

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return a copy of the weights, on the CPU."""
        return EVERYTHING.state(classifier)


def open_groups(groups: int, epochs: int, epoch: int) -> int:
    """Return how many groups below the head are open in an epoch.

    From the middle of the training on all of them are. Until then as many open before each epoch as make
    that: several at once where the epochs are few.

    Args:
        groups: Number of groups below the head.
        epochs: Number of all epochs.
        epoch: Number of the epoch, from 1.
    """
    opening = math.ceil(epochs / 2)
    return min(groups, math.ceil(groups * epoch / opening))


def _depths(classifier: Classifier) -> Mapping[str, int]:
    """Return each parameter's depth."""
    layered = require_layers(classifier, "gradual")
    return layered.depths([name for name, _ in classifier.saved().named_parameters()])
