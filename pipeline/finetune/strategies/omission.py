"""What a training leaves out by chance: features before the head, and blocks of the network."""

from __future__ import annotations

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan
from pipeline.modalities.abilities import Omitting
from pipeline.modalities.training import Classifier


def set_omissions(classifier: Classifier, plan: Plan) -> None:
    """Set the plan's dropout and stochastic depth in a classifier that is to train, where it has any.

    Only training mode heeds them, and nothing of them is saved, so that they are not in what is served.

    Args:
        classifier: The classifier with its head set.
        plan: The plan of the training.

    Raises:
        GraftError: The network has no such thing.
    """
    wished = {"dropout": plan.dropout, "drop_path": plan.drop_path}
    keys = [f"finetune.{name}" for name, rate in wished.items() if rate is not None]
    if keys and not isinstance(classifier, Omitting):
        raise GraftError(f"{keys[0]}: networks of this kind have nothing to set. Leave it out.")
    if isinstance(classifier, Omitting):
        if plan.dropout is not None:
            classifier.set_dropout(plan.dropout)
        if plan.drop_path is not None:
            classifier.set_drop_path(plan.drop_path)
