"""The start of a training: decoded samples, and a classifier with a head on its frozen features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.features import Extractor
from pipeline.finetune.head import LinearHead, train_head
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.machine.settings import Settings
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Classifier, Examples, Pretrained, Training
from pipeline.tasks.task import Task

log = logging.getLogger("graft")
UNBALANCED = 1.5


@dataclass(frozen=True)
class Split:
    """The decoded samples of a split.

    Attributes:
        examples: The decoded samples.
        targets: Class indices of the samples, int64 of shape (samples,).
        sha256: Each sample's content hash, in hex, by which its features are kept; empty where no features
            are computed.
    """

    examples: Examples
    targets: NDArray[np.int64]
    sha256: Sequence[str] = ()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)


@dataclass(frozen=True)
class Prepared:
    """All that a training needs besides its plan.

    Attributes:
        classifier: The pretrained network with its head set. Training changes it in place.
        train: The training split.
        validation: The validation split, which selects the best epoch.
        start_logits: The classifier's logits on validation before training, float32 of shape (samples,
            classes).
        head_penalty: The L2 penalty that the head was fitted with.
        class_weights: Weight of each class in the loss, float32 of shape (classes,); None for equal weights.
        task: The task, which says what the loss and the answers are.
        unit: What the progress bar and the log call several samples, such as ``pictures``.
    """

    classifier: Classifier
    train: Split
    validation: Split
    start_logits: NDArray[np.float32]
    head_penalty: float
    class_weights: NDArray[np.float32] | None
    task: Task
    unit: str


def prepare(
    pretrained: Pretrained,
    train: Split,
    validation: Split,
    *,
    class_weights: NDArray[np.float32] | None,
    strategy: Strategy,
    settings: Settings,
    modality: Training,
    task: Task,
) -> Prepared:
    """Fit a head on the frozen backbone's features, and set it.

    Args:
        pretrained: The backbone; its classifier is changed in place.
        train: The training split, with content hashes.
        validation: The validation split, with content hashes.
        class_weights: Weight of each class in the loss, float32 of shape (classes,), or None for equal ones.
        strategy: The strategy, which says how the head is fitted.
        settings: Device and precision of the training.
        modality: The training side of the samples' kind of input.
        task: The task, which says what the loss and the answers are.
    """
    extractor = Extractor(pretrained, settings, modality)
    head, judged = _fit_head(extractor, train, validation, strategy, balanced=class_weights is not None)
    pretrained.classifier.set_head(head.weight, head.bias)
    # On a CPU the cached features are exact; on an accelerator they may be of half precision, good to start
    # from only.
    if settings.device == "cpu":
        start_logits = head.logits(judged)
    else:
        start_logits = _compute_start(pretrained.classifier, validation, settings.device, modality.UNIT)
    return Prepared(
        classifier=pretrained.classifier,
        train=train,
        validation=validation,
        start_logits=start_logits,
        head_penalty=head.penalty,
        class_weights=class_weights,
        task=task,
        unit=modality.UNIT,
    )


def _fit_head(
    extractor: Extractor, train: Split, validation: Split, strategy: Strategy, *, balanced: bool
) -> tuple[LinearHead, NDArray[np.float32]]:
    """Fit a head as the strategy says.

    Returns:
        The head, and the features of validation, float32 of shape (samples, features).
    """
    everything = np.arange(len(validation))
    judged = extractor.extract(validation.examples, everything, validation.sha256)
    chosen = spread(train.targets, strategy.head_samples or len(train))
    fitted_on = extractor.extract(train.examples, chosen, [train.sha256[index] for index in chosen])
    head = train_head(
        (fitted_on, train.targets[chosen]),
        (judged, validation.targets),
        balanced=balanced,
        penalties=strategy.penalties,
    )
    unit = extractor.modality.UNIT
    log.info("head: trained on the features of %d %s, penalty %g", len(chosen), unit, head.penalty)
    return head, judged


def _compute_start(classifier: Classifier, validation: Split, device: str, unit: str) -> NDArray[np.float32]:
    """Return the untouched classifier's logits on validation, computed on an accelerator in fp32."""
    classifier.saved().to(device)
    classifier.prepare()
    return compute_logits(classifier, validation.examples, device, "validation", unit)


def balance(targets: NDArray[np.int64], classes: int, choice: str) -> NDArray[np.float32] | None:
    """Return weights inverse to the classes' sizes, with a mean of 1 over the samples, or None.

    Args:
        targets: Class indices of the training split, int64 of shape (samples,).
        classes: Number of classes.
        choice: ``balanced``, ``none``, or ``auto``: balanced if the largest class has over 1.5 times the
            samples of the smallest.

    Returns:
        float32 of shape (classes,), or None if no weights are wanted.
    """
    counts = np.bincount(targets, minlength=classes)
    if choice == "none" or (choice == "auto" and counts.max() <= UNBALANCED * counts.min()):
        return None
    return (len(targets) / (classes * counts)).astype(np.float32)


def spread(targets: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return the indices of some samples, evenly spread over the split, with every class among them.

    Args:
        targets: Class indices of the split, int64 of shape (samples,).
        limit: Number of samples to choose at most, but for those of classes that would be missed, which come
            on top.
    """
    even = np.linspace(0, len(targets) - 1, min(limit, len(targets))).round().astype(np.int64)
    first = np.unique(targets, return_index=True)[1]
    return np.union1d(even, first)
