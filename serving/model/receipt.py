"""The receipt: the measured proof that one artifact predicts what the checkpoint predicts."""

from __future__ import annotations

import json
from pathlib import Path

from serving.model.files import check_file
from serving.model.manifest import Artifact


def find_doubt(folder: Path, artifact: Artifact) -> str | None:
    """Why an artifact is unproven, or None: its receipt must be there, unchanged, passed, and of these very bytes."""
    if artifact.receipt is None:
        return "has no receipt"
    check_file(folder, artifact.receipt)
    receipt = json.loads((folder / artifact.receipt.file).read_bytes())
    if not artifact.receipt.passed or receipt.get("passed") is not True:
        return "failed its receipt"
    if receipt.get("artifact_sha256") != artifact.sha256:
        return "has the receipt of another file"
    proven = tuple(receipt.get(key) for key in ("artifact", "runtime", "precision"))
    if proven != (artifact.name, artifact.runtime, artifact.precision):
        return "has the receipt of another runtime or precision"
    plan = artifact.plan.model_dump(mode="json") if artifact.plan else None
    return None if receipt.get("plan") == plan else "has the receipt of another plan"
