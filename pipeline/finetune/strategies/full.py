"""The strategy ``full``: everything trains, from a gentle head on (LP-FT, arXiv:2202.10054)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pipeline.finetune.head import GENTLE
from pipeline.finetune.plan import Plan
from pipeline.modalities.training import Classifier, ParameterGroup


@dataclass(frozen=True)
class Full:
    """A training of every parameter, at a rate that falls from each layer to the one below it.

    Attributes:
        head_samples: Number of samples that the head is fitted on, about; the head that training starts from
            needs no more than 4,096.
        penalties: The one L2 penalty that keeps the head's weights small.
    """

    head_samples: int | None = 4096
    penalties: Sequence[float] = GENTLE

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return all parameters in groups: one rate a layer, and weight decay on matrices only."""
        return classifier.parameter_groups(plan.learning_rate, plan.layer_decay, plan.weight_decay)

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:  # noqa: ARG002
        """Put all modules into training mode, but for batch norms whose statistics are frozen."""
        module = classifier.saved()
        module.train()
        if plan.freeze_batch_norm:
            freeze_batch_norm(module)


def freeze_batch_norm(module: nn.Module) -> None:
    """Put the batch norms of a module into evaluation mode, so that they keep the pretrained statistics."""
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)):
            part.eval()
