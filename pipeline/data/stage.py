"""The stage ``data``: intake, audit, split."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial

from pipeline import atomic
from pipeline.data.audit import Audit, audit_files
from pipeline.data.intake import read_labelled_files
from pipeline.data.samples import Sample, write_samples
from pipeline.data.split import SPLITS, assign_splits
from pipeline.layout import RunFolder
from pipeline.recipe import Recipe
from serving.inputs.image import ImageInputSpec, decode_image

log = logging.getLogger("graft")
# The audit decodes each file in full, as serving does; the size it is then resized to does not matter.
AUDIT_SPEC = ImageInputSpec(height=8, width=8, crop_mode="squash", interpolation="nearest")


def prepare_data(recipe: Recipe, run: RunFolder) -> None:
    """Write the run's table of samples, and what the audit found."""
    audit = audit_files(read_labelled_files(recipe.data), recipe.data, partial(decode_image, spec=AUDIT_SPEC))
    labels = [item.file.label for item in audit.kept]
    splits = assign_splits(labels, [item.file.strata for item in audit.kept], recipe.data.splits, recipe.seed)
    samples = [Sample(item.file.path, item.file.label, split, item.sha256) for item, split in zip(audit.kept, splits, strict=True)]
    write_samples(run, samples)
    atomic.write_json(run.audit, summarise(audit, samples))
    sizes = Counter(splits)
    log.info("data: %d samples of %d labels; %s", len(samples), len(set(labels)), ", ".join(f"{sizes[s]} {s}" for s in SPLITS))


def summarise(audit: Audit, samples: list[Sample]) -> dict[str, object]:
    """The audit as JSON: counts by split and label, and every file that was left out."""
    counts = Counter((sample.split, sample.label) for sample in samples)
    return {
        "samples": len(samples),
        "counts": {split: {label: counts[split, label] for label in sorted({s.label for s in samples})} for split in SPLITS},
        "skipped_unreadable": audit.unreadable,
        "dropped_repeats": audit.repeats,
        "skipped_conflicts": audit.conflicts,
    }
