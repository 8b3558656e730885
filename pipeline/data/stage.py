"""The stage ``data``: intake, audit, split."""

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
    """Write the run's table of samples, and what the audit found."""
    modality = find_modality(recipe.modality)
    examples = read_labelled(recipe.data, cells=modality.samples_are_cells)
    found = audit(examples, recipe.data, modality.content(recipe))
    kept = [(item.example, item.sha256) for item in found.kept]
    splits = assign_splits(
        [e.label for e, _ in kept], [e.strata for e, _ in kept], recipe.data.splits, recipe.seed
    )
    samples = [
        Sample(e.source, e.label, split, sha256, e.text)
        for (e, sha256), split in zip(kept, splits, strict=True)
    ]
    write_samples(run, samples)
    write_audit(run.audit, summarise(found, samples))
    sizes, labels = Counter(splits), {sample.label for sample in samples}
    log.info(
        "data: %d of %d examples are unreadable, %d repeat others, %d have several labels (%d contents): "
        "left out",
        len(found.unreadable),
        len(examples),
        len(found.repeats),
        sum(map(len, found.conflicts)),
        len(found.conflicts),
    )
    log.info(
        "data: %d samples of %d labels; %s",
        len(samples),
        len(labels),
        ", ".join(f"{sizes[s]} {s}" for s in SPLITS if sizes[s]),
    )


def summarise(findings: Findings, samples: Sequence[Sample]) -> Audit:
    """Return the record of an audit: counts by split and label, and everything that was left out.

    Args:
        findings: What the audit kept and left out.
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
