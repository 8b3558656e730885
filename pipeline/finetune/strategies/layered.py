"""The networks that declare their layers, which some strategies need."""

from __future__ import annotations

from pipeline.errors import GraftError
from pipeline.modalities.abilities import Layered
from pipeline.modalities.training import Classifier


def require_layers(classifier: Classifier, mode: str) -> Layered:
    """Return a classifier as one that declares its layers.

    Args:
        classifier: The classifier.
        mode: The recipe's ``finetune.mode``, for the error.

    Raises:
        GraftError: Its kind of input declares none.
    """
    if not isinstance(classifier, Layered):
        raise GraftError(
            f"finetune.mode: {mode} needs the layers of the network, which"
            f" {type(classifier).__name__} does not declare. Use lp-ft."
        )
    return classifier
