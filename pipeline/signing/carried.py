"""The bundle that an image carries in one of its layers, whose receipts are then the image's too."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pipeline.signing.image import OciImage
from serving.model.bundle import Bundle, open_bundle

BUNDLE_KEYS = {"schema_version", "artifacts", "reference", "lineage"}


@contextmanager
def carried_bundle(image: OciImage) -> Iterator[Bundle | None]:
    """Yield the bundle in the highest layer that holds one, opened in a temporary folder; None without one.

    Args:
        image: The image. Layers that are no tar archives, plain or compressed by gzip, bzip2 or xz, are left
            out.

    Raises:
        BundleError: The bundle has changed, or is not proven.
    """
    with tempfile.TemporaryDirectory(prefix="graft-image-") as place:
        folder = Path(place)
        found = any(_unpack(image.blob(layer), folder) for layer in reversed(image.layers))
        yield open_bundle(folder) if found else None


def _unpack(layer: Path, folder: Path) -> bool:
    """Unpack the bundle of a layer into a folder, and return whether the layer holds one."""
    try:
        with tarfile.open(layer, "r:*") as archive:
            members = [member for member in archive.getmembers() if member.isfile()]
            root = _find_root(archive, members)
            if root is None:
                return False
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_relative_to(root) and ".." not in path.parts:
                    _write(archive, member, folder / path.relative_to(root))
            return True
    except tarfile.ReadError:
        return False


def _find_root(archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> PurePosixPath | None:
    """Return the folder of the first bundle's manifest in an archive."""
    for member in members:
        path, file = PurePosixPath(member.name), None
        if path.name == "manifest.json":
            file = archive.extractfile(member)
        try:
            if file is not None and set(json.loads(file.read())) >= BUNDLE_KEYS:
                return path.parent
        except (ValueError, TypeError):  # a manifest of something else
            continue
    return None


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None, "it is a file"
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
