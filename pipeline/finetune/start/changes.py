"""The decision whether a random change such as mirroring is used: by the labels, and by a trial."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.finetune.start.counterparts import Tried, try_counterparts
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.prepared import Prepared, spread
from pipeline.modalities.changes import Change

log = logging.getLogger("graft")

# Number of training samples in a trial, which costs one more pass of the frozen backbone over them.
SAMPLES, SAMPLES_OF_A_CLASS, MOST_SAMPLES = 600, 15, 3000


def decide_changes(
    changes: Sequence[Change], labels: Sequence[str], prepared: Prepared, extractor: Extractor
) -> Prepared:
    """Decide on the changes that the recipe leaves open, and warn of those that it asks for and that do harm.

    Args:
        changes: The changes.
        labels: Names of the classes.
        prepared: The samples; their random changes are replaced, and the remarks tell of it.
        extractor: The frozen backbone.
    """
    for change in changes:
        if change.wish is None:
            prepared = _decide(change, labels, prepared, extractor)
        elif change.wish:
            prepared = _check(change, labels, prepared, extractor)
    return prepared


def _decide(change: Change, labels: Sequence[str], prepared: Prepared, extractor: Extractor) -> Prepared:
    """Use a change where neither labels nor trial speak against it."""
    against = change.forbidden(labels)
    tried = None if against else _try(change, prepared, extractor)
    if tried:
        against = tried.doubt(labels[tried.preferred], prepared.unit)
    elif not against:
        against = f"so few {prepared.unit} cannot show that it is harmless"
    if against or tried is None:
        told = f"{change.key}: auto leaves out {change.name}, since {against}."
    else:
        told = (
            f"{change.key}: auto chose {change.name}, since the way round tells next to nothing of the class"
            f" ({max(0, tried.told.nats) / tried.guessing_loss:.1%} of what there is to know), and a head"
            f" that also saw counterparts is no worse on validation ({tried.with_copies.nats:+.3f} nats)."
        )
    train = prepared.train
    examples = change.decide(train.examples, against is None)
    return _told(replace(prepared, train=replace(train, examples=examples)), told)


def _check(change: Change, labels: Sequence[str], prepared: Prepared, extractor: Extractor) -> Prepared:
    """Warn of a change that the recipe asks for where labels or trial clearly speak against it."""
    against = change.forbidden(labels)
    if against is None:
        tried = _try(change, prepared, extractor)
        if tried is None or not tried.harm():
            return prepared
        against = tried.doubt(labels[tried.preferred], prepared.unit)
    return _told(
        prepared,
        f"{change.key}: true asks for {change.name}, but {against}: it takes away what tells the classes"
        " apart. Set it to false, or to auto, which looks first.",
        logging.WARNING,
    )


def _told(prepared: Prepared, remark: str, level: int = logging.INFO) -> Prepared:
    """Log a remark and keep it."""
    log.log(level, "finetune: %s", remark)
    return replace(prepared, remarks=(*prepared.remarks, remark))


def _try(change: Change, prepared: Prepared, extractor: Extractor) -> Tried | None:
    """Try a change on the frozen backbone's features; None where a class has too few samples for a trial."""
    train, validation = prepared.train, prepared.validation
    classes = int(train.targets.max()) + 1
    chosen = spread(train.targets, min(MOST_SAMPLES, max(SAMPLES, SAMPLES_OF_A_CLASS * classes)))
    hashes = [train.sha256[index] for index in chosen]
    features = extractor.extract(train.examples, chosen, hashes)
    counterparts = [f"{sha256} after {change.name}" for sha256 in hashes]
    changed = extractor.extract(change.apply(train.examples), chosen, counterparts)
    judged = extractor.extract(validation.examples, np.arange(len(validation)), validation.sha256)
    return try_counterparts(
        (features, changed, train.targets[chosen]),
        (judged, validation.targets),
        prepared.best_head.penalty,
        prepared.task,
    )
