"""The image that ``graft package --image`` wrote, read again: its name, and the files that it is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import GraftError

LAYOUT: Final = "layout"
INDEX: Final = "index.json"
# Annotations of the index: the tag as the OCI image specification has it, the name for `docker load`.
TAG: Final = "org.opencontainers.image.ref.name"
NAME: Final = "io.containerd.image.name"


@dataclass(frozen=True)
class WrittenImage:
    """An image in an OCI layout, with its files unread.

    Attributes:
        folder: The layout's folder.
        digest: Digest of its manifest, which stands for all of it: ``sha256:`` and 64 hexadecimal digits.
        tag: Version of the bundle's content.
        name: The name that the writer gives it, with its tag; empty if there is none.
        config: The file of its configuration.
        layers: The files of its layers, from the lowest.
    """

    folder: Path
    digest: str
    tag: str
    name: str
    config: Path
    layers: tuple[Path, ...]


def open_layout(folder: Path) -> WrittenImage:
    """Open the image of an OCI layout.

    Args:
        folder: The layout's folder, with ``index.json``.

    Raises:
        GraftError: It is no OCI layout of one image, or its manifest was changed.
    """
    try:
        (entry,) = json.loads((folder / INDEX).read_bytes())["manifests"]
        notes: dict[str, str] = entry.get("annotations", {})
        path = _blob(folder, entry["digest"])
        require_whole(path)
        manifest = json.loads(path.read_bytes())
        return WrittenImage(
            folder=folder,
            digest=entry["digest"],
            tag=notes.get(TAG, ""),
            name=notes.get(NAME, "").rpartition("/")[2],
            config=_blob(folder, manifest["config"]["digest"]),
            layers=tuple(_blob(folder, layer["digest"]) for layer in manifest["layers"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraftError(
            f"{folder}: is no OCI layout of one image ({error}). Write it: graft package RUN --image"
        ) from error


def require_whole(blob: Path) -> None:
    """Raise where a file of a layout does not have the hash that names it.

    Args:
        blob: The file, whose name is its SHA-256.

    Raises:
        GraftError: It was changed.
        OSError: It cannot be read.
    """
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        raise GraftError(
            f"{blob}: this part of the image was changed, so nothing of the image is run. "
            "Write it anew: graft package RUN --image"
        )


def _blob(folder: Path, digest: str) -> Path:
    algorithm, _, name = digest.partition(":")
    return folder / "blobs" / algorithm / name
