"""An image as a folder, the OCI image layout: whether it is whole, before somebody vouches for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import GraftError
from serving.model.files import hash_file

LAYOUT_FILE: Final = "oci-layout"
BLOBS: Final = Path("blobs", "sha256")
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


class _Descriptor(BaseModel):
    model_config = ConfigDict(extra="ignore")

    mediaType: str  # noqa: N815 - OCI's name
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$")


class _Node(BaseModel):
    """An index, which names manifests, or a manifest, which names a configuration and layers."""

    model_config = ConfigDict(extra="ignore")

    manifests: tuple[_Descriptor, ...] = ()
    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()

    def descriptors(self) -> tuple[_Descriptor, ...]:
        return (*self.manifests, *((self.config,) if self.config else ()), *self.layers)


def find_image(folder: Path) -> Path | None:
    """Return the image that a user names: the folder in the OCI image layout, or ``layout`` in it.

    It is None where neither is one.
    """
    places = (folder, folder / "layout")
    return next((place for place in places if (place / LAYOUT_FILE).is_file()), None)


@dataclass(frozen=True)
class OciImage:
    """A whole image.

    Attributes:
        folder: The image, in the OCI image layout.
        manifests: SHA-256 of each of its manifests, in hexadecimal: one a platform.
        layers: SHA-256 of its layers, from the lowest up.
    """

    folder: Path
    manifests: tuple[str, ...]
    layers: tuple[str, ...]

    def blob(self, sha256: str) -> Path:
        """Return the path of one of the image's blobs."""
        return self.folder / BLOBS / sha256


def open_image(folder: Path) -> OciImage:
    """Open an image, which must hold every blob that it names, each with the bytes that its name says.

    Args:
        folder: The image, in the OCI image layout.

    Raises:
        GraftError: A blob is missing or damaged, or the index names none.
    """
    waiting, seen = list(_read(folder / "index.json").descriptors()), dict[str, str]()
    layers: list[str] = []
    if not waiting:
        raise GraftError(f"{folder / 'index.json'}: names no image.")
    while waiting:
        descriptor = waiting.pop()
        sha256 = descriptor.digest.removeprefix("sha256:")
        if sha256 in seen:
            continue
        seen[sha256] = descriptor.mediaType
        blob = folder / BLOBS / sha256
        if not blob.is_file() or hash_file(blob) != sha256:
            raise GraftError(f"{blob}: is missing or damaged, so the image is not signed. Make it again.")
        if descriptor.mediaType in {INDEX_TYPE, MANIFEST_TYPE}:
            node = _read(blob)
            waiting += node.descriptors()
            layers += (layer.digest.removeprefix("sha256:") for layer in node.layers)
    manifests = (sha256 for sha256, media_type in seen.items() if media_type == MANIFEST_TYPE)
    return OciImage(folder, tuple(sorted(manifests)), tuple(layers))


def _read(path: Path) -> _Node:
    try:
        return _Node.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise GraftError(f"{path}: is no part of an OCI image ({reason}). Make the image again.") from error
