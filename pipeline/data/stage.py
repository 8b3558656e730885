"""The stage ``data``: it reads, audits and splits the samples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from pipeline.data.audit import Findings, audit
from pipeline.data.intake import read_labelled
from pipeline.data.split import assign_splits
from pipeline.files.audit import Audit, write_audit
from pipeline.files.layout import RunFolder
from pipeline.files.samples import SPLITS, Sample, write_samples
from pipeline.modalities.registry import find_modality
from pipeline.recipe.sections import Recipe

log = logging.getLogger("graft")


def prepare_data(recipe: Recipe, run: RunFolder) -> None:
    """Read, audit and split the samples, and write their table and what the audit found.

    Args:
        recipe: The run's recipe.
        run: The run's folder.

    Raises:
        DataError: The data cannot be read, hold what the recipe refuses, or cannot be split.
    """
    modality = find_modality(recipe.modality)
    intake = read_labelled(recipe.data, modality)
    for remark in intake.remarks:
        log.info("data: %s", remark)
    examples = intake.examples
    findings = audit(examples, recipe.data, modality.content(recipe))
    kept = [(item.example, item.sha256) for item in findings.kept]
    splits = assign_splits(
        [example.label for example, _ in kept],
        [example.strata for example, _ in kept],
        recipe.data.splits,
        recipe.seed,
    )
    samples = [
        Sample(example.source, example.label, split, sha256, example.text)
        for (example, sha256), split in zip(kept, splits, strict=True)
    ]
    write_samples(run, samples)
    write_audit(run.audit, summarise(findings, samples))
    sizes, labels = Counter(splits), {sample.label for sample in samples}
    log.info(
        "data: %d of %d examples are unreadable, %d repeat others, %d have several labels (%d contents): "
        "left out",
        len(findings.unreadable),
        len(examples),
        len(findings.repeats),
        sum(map(len, findings.conflicts)),
        len(findings.conflicts),
    )
    log.info(
        "data: %d samples of %d labels; %s",
        len(samples),
        len(labels),
        ", ".join(f"{sizes[split]} {split}" for split in SPLITS if sizes[split]),
    )


def summarise(findings: Findings, samples: Sequence[Sample]) -> Audit:
    """Return the record of an audit: counts by split and label, and everything that was left out.

    Args:
        findings: The findings of the audit.
        samples: The examples that it kept, with their splits.
    """
    counts = Counter((sample.split, sample.label) for sample in samples)
    labels, used = sorted({sample.label for sample in samples}), {sample.split for sample in samples}
    return Audit(
        samples=len(samples),
        counts={
            split: {label: counts[split, label] for label in labels} for split in SPLITS if split in used
        },
        skipped_unreadable=findings.unreadable,
        dropped_repeats=findings.repeats,
        skipped_conflicts=tuple(findings.conflicts),
    )
