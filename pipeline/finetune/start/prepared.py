"""The start of a training: decoded samples, and a classifier with a head on its frozen features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.heads import Features, LinearHead, Targets, fit_heads
from pipeline.finetune.start.imbalance import Balance
from pipeline.finetune.start.soft import masses_of
from pipeline.finetune.steps.sharing import heads_from_first
from pipeline.machine.processes import ALONE, Processes
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Classifier, Examples
from pipeline.tasks.task import Task

log = logging.getLogger("graft")
# Number of training samples that heads are fitted on, about and at most: more would change them little, and
# cost a pass of the backbone over everything.
HEAD_SAMPLES = 20_000


@dataclass(frozen=True)
class Split:
    """The decoded samples of a split.

    Attributes:
        examples: The decoded samples.
        targets: Class indices of the samples, int64 of shape (samples,).
        sha256: Each sample's content hash, in hex, by which its features are kept; empty where no features
            are computed.
        soft: Probability of each class of each sample, float32 of shape (samples, classes), which training
            aims at instead; None, the default, where the samples have none.
        weights: Weight of each sample in training, float32 of shape (samples,), 0 or more; None, the default,
            for equal ones.
    """

    examples: Examples
    targets: NDArray[np.int64]
    sha256: Sequence[str] = ()
    soft: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def masses(self, classes: int) -> NDArray[np.float32] | None:
        """Return what each sample adds to each class: its probability of it, times the sample's weight.

        Args:
            classes: Number of classes.

        Returns:
            float32 of shape (samples, classes); None where samples have neither probabilities nor weights.
        """
        return masses_of(self.targets, self.soft, self.weights, classes)

    def sizes(self, classes: int) -> NDArray[np.float64]:
        """Return how much of the split is of each class: the sum of its samples, float64 of shape (classes,).

        Args:
            classes: Number of classes.
        """
        masses = self.masses(classes)
        if masses is None:
            return np.bincount(self.targets, minlength=classes).astype(np.float64)
        return np.asarray(masses.sum(axis=0, dtype=np.float64))


@dataclass(frozen=True)
class Prepared:
    """All that a training needs besides its plan.

    Attributes:
        classifier: The pretrained network with the best head set, on the CPU. A training changes a copy.
        train: The training split.
        validation: The validation split, which selects what is kept.
        floor: The best head on the frozen backbone, below which no training ends.
        best_head: That head, with its penalty chosen.
        gentle_head: A head of small weights, from which everything can be trained without harm.
        class_weights: Weight of each class in the loss, float32 of shape (classes,); None for equal weights.
        task: The task, which says what the loss and the answers are.
        unit: What the progress bar and the log call several samples, such as ``pictures``.
        balance: What is done about classes of unequal size; by default nothing.
        processes: The processes that share the training; by default this one is alone.
        remarks: What was decided of random changes, and why, a sentence each; nothing by default.
    """

    classifier: Classifier
    train: Split
    validation: Split
    floor: Candidate
    best_head: LinearHead
    gentle_head: LinearHead
    class_weights: NDArray[np.float32] | None
    task: Task
    unit: str
    balance: Balance = field(default_factory=Balance)
    processes: Processes = ALONE
    remarks: tuple[str, ...] = ()


def prepare(
    extractor: Extractor,
    train: Split,
    validation: Split,
    *,
    balance: Balance,
    task: Task,
    penalty: float | None = None,
) -> Prepared:
    """Fit the best head and a gentle one on the frozen backbone's features, and set the best.

    Args:
        extractor: The frozen backbone, whose classifier gets the head, and the processes that share the work.
        train: The training split, with content hashes.
        validation: The validation split, with content hashes.
        balance: What is done about classes of unequal size.
        task: The task, which says what the loss and the answers are.
        penalty: The best head's penalty; None, the default, to choose it.
    """
    judged = extractor.extract(validation.examples, np.arange(len(validation)), validation.sha256)
    best, gentle = _fit_heads(extractor, train, (judged, validation.targets), balance, penalty)
    classifier, unit = extractor.pretrained.classifier, extractor.modality.UNIT
    device, processes = extractor.settings.device, extractor.processes
    classifier.set_head(best.weight, best.bias)
    logits = best.logits(judged)
    if device != "cpu":  # there the features may be of half precision, good to start from only
        logits = _compute_start(classifier, validation, device, unit, processes)
    return Prepared(
        classifier=classifier,
        train=train,
        validation=validation,
        floor=floor_of(classifier, logits, validation.targets, task),
        best_head=best,
        gentle_head=gentle,
        class_weights=balance.weights,
        task=task,
        unit=unit,
        balance=balance,
        processes=processes,
    )


def _fit_heads(
    extractor: Extractor,
    train: Split,
    validation: tuple[Features, Targets],
    balance: Balance,
    penalty: float | None,
) -> tuple[LinearHead, LinearHead]:
    """Return the best head and the gentle one, fitted on the features of the training split.

    Args:
        extractor: The frozen backbone.
        train: The training split, with content hashes.
        validation: Features of the validation split, and its class indices.
        balance: What is done about classes of unequal size.
        penalty: The best head's penalty; None to choose it.
    """
    chosen = spread(train.targets, HEAD_SAMPLES)
    features = extractor.extract(train.examples, chosen, [train.sha256[index] for index in chosen])
    masses = balance.masses_for_heads(train.targets, train.masses(len(balance.sizes)))
    some = None if masses is None else masses[chosen]
    given = (features, train.targets[chosen]), validation, some, penalty
    heads = heads_from_first(extractor.processes, lambda: fit_heads(*given))
    log.info(
        "head: on the features of %d %s, penalty %g", len(chosen), extractor.modality.UNIT, heads[0].penalty
    )
    return heads


def floor_of(
    classifier: Classifier, logits: NDArray[np.float32], targets: NDArray[np.int64], task: Task
) -> Candidate:
    """Return the head on the untouched backbone as a candidate; its state is the classifier's own.

    Args:
        classifier: The classifier with the best head.
        logits: Its logits on validation, float32 of shape (samples, classes).
        targets: Class indices of validation, int64 of shape (samples,).
        task: The task, which says what the loss is.
    """
    state = {name: value.detach() for name, value in classifier.saved().state_dict().items()}
    return Candidate("the best head", 0, state, logits, judge(task, logits, targets))


def _compute_start(
    classifier: Classifier, validation: Split, device: str, unit: str, processes: Processes
) -> NDArray[np.float32]:
    """Return the untouched classifier's logits on validation, computed on an accelerator in fp32."""
    module = classifier.saved().to(device)
    logits = compute_logits(classifier, validation.examples, device, "validation", unit, processes)
    module.to("cpu")
    return logits


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
