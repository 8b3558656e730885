"""A file of a bundle, and the check that it is the one that was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.model.errors import BundleError


class FileRef(BaseModel):
    """A file of the bundle, relative to its folder, with the SHA-256 of its bytes in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value:
            raise ValueError("must be a relative path inside the bundle")
        return value


def hash_file(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(folder: Path, ref: FileRef) -> bytes:
    """The bytes of a bundle's file.

    Raises:
        BundleError: ``missing_file``, or ``hash_mismatch``: they are not those that the bundle was made with.
    """
    check_file(folder, ref)
    return (folder / ref.file).read_bytes()


def check_file(folder: Path, ref: FileRef) -> None:
    """Raise BundleError unless the file is there, with the bytes that the bundle was made with."""
    path = folder / ref.file
    if not path.is_file():
        raise BundleError("missing_file", f"{path}: named in the manifest, but not there. Copy the whole folder, or export again.")
    actual = hash_file(path)
    if actual != ref.sha256:
        raise BundleError(
            "hash_mismatch",
            f"{path}: its bytes changed (SHA-256 {actual[:12]}…, expected {ref.sha256[:12]}…). Copy it again, or export again.",
        )
