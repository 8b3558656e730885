"""The check of a receipt, the measured proof that an artifact predicts what the checkpoint predicts."""

from __future__ import annotations

import json
from pathlib import Path

from serving.model.files import check_file
from serving.model.manifest import Artifact


def find_doubt(folder: Path, artifact: Artifact) -> str | None:
    """Look for a reason why an artifact is not proven.

    The receipt must exist, be unchanged, have passed, and be about this file (by its SHA-256), name, runtime,
    precision and TensorRT plan.

    Args:
        folder: The bundle's folder.
        artifact: One of the bundle's artifacts.

    Returns:
        The reason as a predicate whose subject is the artifact, such as ``has no receipt``, or None if the
        artifact is proven.

    Raises:
        BundleError: ``missing_file`` or ``hash_mismatch`` for the file of the receipt.
    """
    if artifact.receipt is None:
        return "has no receipt"
    check_file(folder, artifact.receipt)
    try:
        receipt = json.loads((folder / artifact.receipt.file).read_bytes())
    except ValueError:
        receipt = None
    if not isinstance(receipt, dict):
        return "has a receipt that cannot be read"
    if not artifact.receipt.passed or receipt.get("passed") is not True:
        return "failed its receipt"
    if receipt.get("artifact_sha256") != artifact.sha256:
        return "has the receipt of another file"
    proven = tuple(receipt.get(key) for key in ("artifact", "runtime", "precision"))
    if proven != (artifact.name, artifact.runtime, artifact.precision):
        return "has the receipt of another runtime or precision"
    plan = artifact.plan.model_dump(mode="json") if artifact.plan else None
    return None if receipt.get("plan") == plan else "has the receipt of another plan"
