"""The record that ``export`` leaves for ``verify``: how each model file, not yet proven, was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import GraftError
from serving.model.manifest import Lineage
from serving.model.records import Made


class Candidates(BaseModel):
    """The content of ``export/made.json``.

    Attributes:
        schema_version: Version of this schema.
        version: Version of the model: a hash of what decides its predictions.
        lineage: Recipe, data, weights and checkpoint that the model was made from.
        files: The record of how each model file was made, or why it was not, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    version: str
    lineage: Lineage
    files: Mapping[str, Made]

    def to_bytes(self) -> bytes:
        """Return the record as UTF-8 JSON."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def read_candidates(path: Path) -> Candidates:
    """Read the record of a run's candidates.

    Args:
        path: Path of ``made.json``.

    Raises:
        GraftError: The file is missing, or not of this release.
    """
    try:
        return Candidates.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise GraftError(
            f"{path}: cannot be read ({reason}). Export again: graft export RUN --force"
        ) from error
