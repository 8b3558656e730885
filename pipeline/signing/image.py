"""An image as a folder, the OCI image layout: whether it is whole, before somebody vouches for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import GraftError
from serving.model.files import hash_file

LAYOUT_FILE: Final = "oci-layout"
BLOBS: Final = Path("blobs", "sha256")
INDEX_TYPES: Final = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFEST_TYPES: Final = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
CONVERT: Final = "Convert it: skopeo copy --all --format oci --dest-compress-format gzip"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Descriptor(_Part):
    mediaType: str  # noqa: N815 - OCI's name
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$")

    @property
    def sha256(self) -> str:
        return self.digest.removeprefix("sha256:")


class _Node(_Part):
    """An index, which names manifests, or a manifest, which names a configuration and layers."""

    mediaType: str | None = None  # noqa: N815 - OCI's name
    manifests: tuple[_Descriptor, ...] = ()
    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()


class _Settings(_Part):
    Entrypoint: tuple[str, ...] | None = None
    Cmd: tuple[str, ...] | None = None


class _Config(_Part):
    config: _Settings | None = None


def find_images(folder: Path) -> list[Path]:
    """Return the images that a user may mean: the folder in the OCI image layout, and ``layout`` in it."""
    return [place for place in (folder, folder / "layout") if os.path.lexists(place / LAYOUT_FILE)]


@dataclass(frozen=True)
class ImageManifest:
    """One of an image's manifests: the image of one platform, or a document about it.

    Attributes:
        sha256: SHA-256 of the manifest, in hexadecimal.
        layers: The blobs of its layers, from the lowest up.
        command: The words that it is started by.
    """

    sha256: str
    layers: tuple[Path, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class OciImage:
    """A whole image.

    Attributes:
        folder: The image, in the OCI image layout.
        manifests: Its manifests, in order of their hashes.
    """

    folder: Path
    manifests: tuple[ImageManifest, ...]


def open_image(folder: Path) -> OciImage:
    """Open an image, which must hold every blob that it names, each with the bytes that its name says.

    Args:
        folder: The image, in the OCI image layout.

    Raises:
        GraftError: A blob is missing or damaged, is of a type that is not known, or the index names none.
    """
    waiting, found = list(_read(folder / "index.json", INDEX_TYPES).manifests), dict[str, ImageManifest]()
    seen = set[_Descriptor]()
    if not waiting:
        raise GraftError(f"{folder / 'index.json'}: names no image.")
    while waiting:
        descriptor = waiting.pop()
        if descriptor in seen:
            continue
        seen.add(descriptor)
        blob = _require_whole(folder, descriptor)
        node = _read(blob, _types_like(blob, descriptor.mediaType))
        waiting += node.manifests
        if descriptor.mediaType in MANIFEST_TYPES:
            found[descriptor.sha256] = _open_manifest(folder, descriptor.sha256, node)
    return OciImage(folder, tuple(found[sha256] for sha256 in sorted(found)))


def _open_manifest(folder: Path, sha256: str, node: _Node) -> ImageManifest:
    layers = tuple(_require_whole(folder, layer) for layer in node.layers)
    settings = None
    if node.config is not None:
        blob = _require_whole(folder, node.config)
        try:
            settings = _Config.model_validate_json(blob.read_bytes()).config
        except ValidationError as error:
            raise _no_part(blob, error) from error
    command = (*(settings.Entrypoint or ()), *(settings.Cmd or ())) if settings else ()
    return ImageManifest(sha256, layers, command)


def _require_whole(folder: Path, descriptor: _Descriptor) -> Path:
    blob = folder / BLOBS / descriptor.sha256
    if not blob.is_file() or hash_file(blob) != descriptor.sha256:
        raise GraftError(f"{blob}: is missing or damaged, so the image is not signed. Make it again.")
    return blob


def _types_like(blob: Path, media_type: str) -> frozenset[str]:
    """Return the media types of the kind of node that an index names; others are not left unread."""
    for known in (INDEX_TYPES, MANIFEST_TYPES):
        if media_type in known:
            return known
    raise GraftError(
        f"{blob}: is of the media type {media_type}, which Graft does not read, so the image is not signed. "
        f"{CONVERT}"
    )


def _read(path: Path, types: Iterable[str]) -> _Node:
    """Read an index or a manifest, which must not be readable as the other one too."""
    try:
        node = _Node.model_validate(json.loads(path.read_bytes()))
        if node.mediaType is not None and node.mediaType not in types:
            raise ValueError(f"it is of the media type {node.mediaType}, and named as another")
        if (node.config or node.layers) if types is INDEX_TYPES else node.manifests:
            raise ValueError("it is both an index and a manifest")
    except (OSError, ValueError, RecursionError) as error:
        raise _no_part(path, error) from error
    return node


def _no_part(path: Path, error: Exception) -> GraftError:
    reason = str(error).splitlines()[0]
    return GraftError(f"{path}: is no part of an OCI image ({reason}). Make the image again.")
