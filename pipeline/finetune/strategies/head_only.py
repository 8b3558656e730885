"""The strategy ``features``: the linear head on the frozen backbone is the result (linear probing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.finetune.head import PENALTIES
from pipeline.finetune.plan import Plan
from pipeline.modalities.training import Classifier, ParameterGroup


@dataclass(frozen=True)
class HeadOnly:
    """A training of the head alone, on all samples.

    Attributes:
        head_samples: None, since the head is fitted on all training samples.
        penalties: The L2 penalties to choose from: the whole grid.
    """

    head_samples: int | None = None
    penalties: Sequence[float] = PENALTIES

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:  # noqa: ARG002
        """Return no group, since nothing trains after the head."""
        return []

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        """Do nothing: there are no epochs."""
