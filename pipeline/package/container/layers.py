"""The layers of an image: sorted archives that tell nothing of when, where and by whom they were made."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from pipeline.package.container.entries import Member, with_folders

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Blob:
    """A file of an OCI layout.

    Attributes:
        media_type: Its media type.
        sha256: SHA-256 of its content, in hexadecimal.
        size: Its size in bytes.
    """

    media_type: str
    sha256: str
    size: int

    @property
    def digest(self) -> str:
        """The digest under which other files name it."""
        return f"sha256:{self.sha256}"

    def describe(self) -> dict[str, str | int]:
        """Return the descriptor of the OCI image specification."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def write_blob(layout: Path, media_type: str, data: bytes) -> Blob:
    """Write a file of a layout under its own hash.

    Args:
        layout: The layout's folder.
        media_type: Its media type.
        data: Its content.

    Raises:
        OSError: It cannot be written.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    path = _folder(layout) / sha256
    path.write_bytes(data)
    return Blob(media_type, sha256, len(data))


def write_layer(layout: Path, entries: Iterable[Member]) -> Blob:
    """Write a layer.

    It is not compressed, since two releases of zlib may compress the same bytes otherwise, and the digest
    with them. Whatever pushes the image to a registry compresses it on the way.

    Args:
        layout: The layout's folder.
        entries: The files of the layer, in any order.

    Raises:
        GraftError: A path is a file and a folder.
        OSError: It cannot be written.
    """
    partial = _folder(layout) / "layer.partial"
    with partial.open("wb") as file:
        hashing = _Hashing(file)
        # A stream, so that nothing is ever written twice.
        with tarfile.open(fileobj=cast("IO[bytes]", hashing), mode="w|", format=tarfile.PAX_FORMAT) as layer:
            for entry in with_folders(entries):
                layer.addfile(_member(entry), io.BytesIO(entry.content))
    partial.rename(_folder(layout) / hashing.sha256.hexdigest())
    return Blob(MEDIA_TYPE, hashing.sha256.hexdigest(), hashing.size)


def _member(entry: Member) -> tarfile.TarInfo:
    """Return the header of an entry: of root, of the year 1970, with one of three rights."""
    member = tarfile.TarInfo(entry.path)
    member.mode = 0o1777 if entry.path == "tmp" else 0o755
    if entry.kind == "folder":
        member.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.target, 0o777
    else:
        member.size, member.mode = len(entry.content), 0o755 if entry.is_executable else 0o644
    return member


def _folder(layout: Path) -> Path:
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Hashing:
    """A file that hashes and counts what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write to the file."""
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)
