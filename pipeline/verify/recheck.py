"""Prove a bundle again, on any machine, from its files and the data alone; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.formats import SOURCE
from pipeline.artifacts.limits import LIMITS, published_limits
from pipeline.errors import GateFailedError
from pipeline.files.layout import find_bundle
from pipeline.measures.reference import read_reference
from pipeline.verify.checks import allowances, failures
from pipeline.verify.originals import find_originals
from pipeline.verify.receipt import Claim, Evidence, build_receipt
from pipeline.verify.report import to_text
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import ProviderError
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import Artifact
from serving.model.receipt import Receipt, read_receipt
from serving.model.scorer import load_scorer


@dataclass(frozen=True)
class Rechecked:
    """What a bundle came to here.

    Attributes:
        receipts: A new one for each artifact that this machine can run.
        unchecked: The others, with the reason.
        default: The artifact that is served by default.
    """

    receipts: Sequence[Receipt]
    unchecked: Mapping[str, str]
    default: str

    def to_json(self) -> dict[str, object]:
        """As JSON."""
        return {
            "passed": self.passed,
            "receipts": [each.model_dump(mode="json", exclude_none=True) for each in self.receipts],
            "unchecked": dict(self.unchecked),
        }

    def to_text(self) -> str:
        """As a table."""
        lines = [to_text(self.receipts)] if self.receipts else []
        lines += [f"{receipt.artifact}: {said}" for receipt in self.receipts for said in allowances(receipt)]
        return "\n".join(
            [*lines, *(f"{name} was not checked: {reason}" for name, reason in self.unchecked.items())]
        )

    @property
    def passed(self) -> bool:
        """Whether everything that was checked passed, and what is served by default was checked."""
        return self.default not in self.unchecked and all(receipt.passed for receipt in self.receipts)

    def require_passed(self, folder: Path) -> None:
        """Raise GateFailedError unless it passed."""
        failed = [
            f"{receipt.artifact}: {'; '.join(failures(receipt))}"
            for receipt in self.receipts
            if not receipt.passed
        ]
        if failed:
            raise GateFailedError(
                f"{folder}: does not predict here what the checkpoint predicted. {'. '.join(failed)}. Do not serve it here."
            )
        if self.default in self.unchecked:
            raise GateFailedError(
                f"{folder}: serves {self.default} by default, which cannot be run here, so it was not checked."
            )


def recheck(folder: Path, data: Path) -> Rechecked:
    """Score every artifact of a bundle on its held-out samples, by this machine, under the limits that it was published with.

    Args:
        folder: The bundle's folder, or its run's. Nothing in it is changed.
        data: Where the samples are: see :func:`find_originals`.

    Raises:
        BundleError: The bundle has changed, or is not proven.
        DataError: Samples are missing.
    """
    bundle = open_bundle(find_bundle(folder))
    reference = read_reference(bundle.path_of(bundle.manifest.reference))
    originals = find_originals(data, reference.samples())
    evidence = Evidence(reference, originals)
    receipts, unchecked = [], {}
    for artifact in bundle.manifest.artifacts:
        try:
            receipts.append(_recheck(bundle, artifact, evidence))
        except ProviderError as error:
            unchecked[artifact.name] = error.message
    return Rechecked(receipts, unchecked, bundle.artifact().name)


def _recheck(bundle: Bundle, artifact: Artifact, evidence: Evidence) -> Receipt:
    assert artifact.receipt is not None, "a bundle that is open has receipts"
    published = read_receipt(bundle.path_of(artifact.receipt))
    manifest = bundle.manifest
    claim = Claim(manifest.labels, manifest.reference.sha256, manifest.lineage)
    scorer = load_scorer(bundle.folder, artifact, open_preprocessor(manifest.input, bundle.folder))
    limits = LIMITS["fp32"] if artifact.name == SOURCE else published_limits(published)
    return build_receipt(scorer, claim, evidence, limits, made=published.made)
