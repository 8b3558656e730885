"""References to the files of a bundle, and the check that a file has the bytes it was published with."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.model.errors import BundleError, SignatureError


class FileRef(BaseModel):
    """A reference to one file of a bundle.

    Attributes:
        file: Path of the file, relative to the bundle's folder. A path that leaves the folder is refused.
        sha256: SHA-256 of the file's bytes, as 64 lowercase hexadecimal digits.
    """

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
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file that is not too large.

    Whatever else has the file's name is not waited for: a named pipe has no end until somebody writes, and a
    device may have none at all.

    Args:
        path: The file.
        most_bytes: The most bytes that it may have.

    Raises:
        OSError: It cannot be read, is a link or something else than a regular file, or is too large.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was exchanged meanwhile
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes // 2**20} MiB", str(path))
    return data


def read_checked(folder: Path, ref: FileRef) -> bytes:
    """Check one file of a bundle, and return its bytes.

    Args:
        folder: The bundle's folder.
        ref: The reference to the file.

    Raises:
        BundleError: ``missing_file`` if the file does not exist, or ``hash_mismatch`` if its bytes are not
            those that the bundle was made with.
    """
    try:
        data = (folder / ref.file).read_bytes()
    except OSError:
        check_file(folder, ref)
        raise
    if hashlib.sha256(data).hexdigest() != ref.sha256:  # of these very bytes, and not of what is there later
        check_file(folder, ref)
    return data


def check_file(folder: Path, ref: FileRef) -> None:
    """Check that a file of a bundle exists, with the bytes that the bundle was made with.

    Args:
        folder: The bundle's folder.
        ref: The reference to the file.

    Raises:
        BundleError: ``missing_file`` or ``hash_mismatch``.
    """
    path = folder / ref.file
    if not path.is_file():
        text = "named in the manifest, but not there. Copy the whole folder, or make it again: graft run RUN"
        raise BundleError("missing_file", f"{path}: {text}")
    actual = hash_file(path)
    if actual != ref.sha256:
        text = f"its bytes changed (SHA-256 {actual[:12]}…, expected {ref.sha256[:12]}…)."
        raise BundleError("hash_mismatch", f"{path}: {text} Copy it again, or make it again: graft run RUN")


def require_signed(path: Path, sha256: str, signed: str | None) -> None:
    """Require a file to have the bytes that were signed.

    Args:
        path: The file.
        sha256: SHA-256 of its bytes, in hexadecimal.
        signed: The SHA-256 that was signed, or None if the file was not.

    Raises:
        SignatureError: ``signature_mismatch``.
    """
    if sha256 != signed:
        text = f"{path}: was changed after it was signed. Copy it again, or sign it again: graft sign"
        raise SignatureError("signature_mismatch", text)
