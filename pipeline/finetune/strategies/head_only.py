"""The strategy ``features``: the best linear head on the frozen backbone is the result (linear probing)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.finetune.keep.candidates import copy_state
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.modalities.training import Classifier, ParameterGroup


@dataclass(frozen=True)
class HeadOnly:
    """A training of the head alone, which is done before the loop begins."""

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Leave the best head, which is set."""

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:  # noqa: ARG002
        """Return no group, since nothing trains after the head."""
        return []

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        """Do nothing: there are no epochs."""

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return a copy of the weights, on the CPU."""
        return copy_state(classifier.saved())
