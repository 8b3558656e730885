"""The strategies ``full`` and ``lp-ft``: everything trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.finetune.keep.candidates import copy_state
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.modes import keep_statistics_up, train_mode
from pipeline.finetune.strategies.omission import set_omissions
from pipeline.modalities.training import Classifier, ParameterGroup


@dataclass(frozen=True)
class Full:
    """A training of every parameter, at a rate that falls from each layer to the one below it.

    Attributes:
        head_first: Whether training starts from the gentle head (LP-FT, arXiv:2202.10054) and not from one
            of zeros.
    """

    head_first: bool

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Set the gentle head, or one whose every answer is equally probable, and what is left out by chance.

        Raises:
            GraftError: The plan asks for dropout or stochastic depth, and the network has none.
        """
        head = prepared.gentle_head
        weight, bias = head.weight, head.bias
        if not self.head_first:
            weight, bias = np.zeros_like(weight), np.zeros_like(bias)
        classifier.set_head(weight, bias)
        set_omissions(classifier, plan)
        keep_statistics_up(classifier.saved(), plan.steps(len(prepared.train)))

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return all parameters in groups: one rate a layer, and weight decay on matrices only."""
        rates = plan.rates
        return classifier.parameter_groups(rates.learning_rate, rates.layer_decay, rates.weight_decay)

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:  # noqa: ARG002
        """Put all modules into training mode, but for batch norms whose statistics are frozen."""
        train_mode(classifier.saved(), freeze_batch_norm=plan.freeze_batch_norm)

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return a copy of the weights, on the CPU."""
        return copy_state(classifier.saved())
