"""The stage ``data``: it reads, audits and splits the samples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.audit import Audited, Findings, audit, review
from pipeline.data.intake import read_labelled
from pipeline.data.soft import refuse_weightless
from pipeline.data.splits.divide import divide
from pipeline.data.splits.kept import read_kept
from pipeline.data.splits.member import Member
from pipeline.data.splits.mix import describe_mix
from pipeline.files.audit import Audit, write_audit
from pipeline.files.layout import RunFolder
from pipeline.files.places import store_contents
from pipeline.files.samples import SPLITS, Sample, Split, write_samples
from pipeline.modalities.content import Review
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
    content = modality.content(recipe)
    intake = read_labelled(recipe.data, modality)
    _tell(intake.remarks)
    findings = audit(intake.examples, recipe.data, content)
    members = [_member(item) for item in findings.kept]
    division = divide(members, recipe.data, recipe.seed, _earlier(recipe.data.splits.keep, findings))
    _tell(division.remarks)
    _tell(describe_mix(members, division.splits).splitlines())
    warning = modality.warn_of_labels(sorted(findings.found))
    of_labels = [warning] if warning else []
    _tell(of_labels)
    reviewed = review(findings.kept, division.splits, content)
    samples = [
        Sample(
            item.example.source,
            item.example.label,
            split,
            item.sha256,
            item.example.text,
            probabilities=item.example.probabilities,
            weight=item.example.weight,
        )
        for item, split in zip(findings.kept, division.splits, strict=True)
    ]
    refuse_weightless(samples)
    store_contents(
        run,
        ((item.sha256, item.example.load) for item in findings.kept if item.example.load is not None),
    )
    write_samples(run, samples)
    write_audit(
        run.audit, summarise(findings, reviewed, samples, (*intake.remarks, *division.remarks, *of_labels))
    )
    _report(findings, reviewed, samples)


def _member(item: Audited) -> Member:
    example = item.example
    return Member(
        item.identity.hex(), example.label, example.strata, example.group, example.time, example.split
    )


def _earlier(keep: str | None, findings: Findings) -> dict[str, Split] | None:
    """Return the splits of samples that an earlier run divided, by identity, if the recipe names such a run.

    Args:
        keep: The recipe's ``data.splits.keep``.
        findings: What the audit kept.
    """
    if keep is None:
        return None
    kept = read_kept(Path(keep))
    return {item.identity.hex(): kept[item.sha256] for item in findings.kept if item.sha256 in kept}


def _tell(remarks: Sequence[str]) -> None:
    for remark in remarks:
        log.info("data: %s", remark)


def summarise(
    findings: Findings, reviewed: Review, samples: Sequence[Sample], told: Sequence[str] = ()
) -> Audit:
    """Return the record of an audit: counts by split and label, and everything that was left out.

    Args:
        findings: The findings of the audit.
        reviewed: The review of what it kept.
        samples: The examples that it kept, with their splits.
        told: What was said of how the data were read and divided; nothing by default.
    """
    counts = Counter((sample.split, sample.label) for sample in samples)
    labels, used = sorted({sample.label for sample in samples}), {sample.split for sample in samples}
    return Audit(
        samples=len(samples),
        found=dict(sorted(findings.found.items())),
        counts={
            split: {label: counts[split, label] for label in labels} for split in SPLITS if split in used
        },
        skipped_unreadable=findings.unreadable,
        dropped_repeats=findings.repeats,
        repeats_left_train=findings.left_train,
        skipped_conflicts=tuple(findings.conflicts),
        remarks=dict(reviewed.remarks),
        warnings=reviewed.warnings,
        understood=tuple(told),
    )


def _report(findings: Findings, reviewed: Review, samples: Sequence[Sample]) -> None:
    """Log what came in, what was left out and what is kept."""
    log.info(
        "data: %d of %d examples are unreadable, %d repeat others, %d have several labels (%d contents): "
        "left out",
        len(findings.unreadable),
        sum(findings.found.values()),
        len(findings.repeats),
        sum(map(len, findings.conflicts)),
        len(findings.conflicts),
    )
    if findings.left_train:
        log.warning(
            "data: %d examples of the training split stand in a later split too: left out of the training",
            findings.left_train,
        )
    if reviewed.remarks:
        log.warning(
            "data: %d samples are odd; data/audit.json names them, such as %s",
            len(reviewed.remarks),
            ascii(": ".join(next(iter(reviewed.remarks.items())))),
        )
    for sentence in reviewed.warnings:
        log.warning("data: %s", sentence)
    sizes, labels = Counter(sample.split for sample in samples), {sample.label for sample in samples}
    log.info(
        "data: %d samples of %d labels; %s",
        len(samples),
        len(labels),
        ", ".join(f"{sizes[split]} {split}" for split in SPLITS if sizes[split]),
    )
