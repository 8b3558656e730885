"""The bundle that an image serves, whose receipts are then the image's too."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.errors import GraftError
from pipeline.signing.image import ImageManifest, OciImage
from pipeline.signing.tree import FileTree, LayerEntry, write_files
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import BundleError
from serving.model.files import hash_file
from serving.model.manifest import MANIFEST_FILE

BUNDLE_KEYS: Final = {"schema_version", "artifacts", "reference", "lineage"}
USUAL_PLACE: Final = "models"


@dataclass(frozen=True)
class Carried:
    """The bundle that an image serves.

    Attributes:
        bundle: The bundle, unpacked and proven.
        manifests: SHA-256, in hexadecimal, of each of the image's manifests that carries just this bundle.
    """

    bundle: Bundle
    manifests: tuple[str, ...]


@contextmanager
def carried_bundle(image: OciImage) -> Iterator[Carried | None]:
    """Yield the bundle that an image serves, opened in a temporary folder; None if it carries none.

    Args:
        image: The image. What its layers hold on top of each other counts, for each of its manifests.

    Raises:
        BundleError: The bundle has changed, or is not proven.
        GraftError: A layer cannot be read, a bundle lies elsewhere than where it is served from, or manifests
            carry different ones.
    """
    with tempfile.TemporaryDirectory(prefix="graft-image-") as place:
        hashes: dict[str, dict[str, str]] = {}
        for manifest in image.manifests:
            files = _find_bundle(image, manifest)
            if files is not None:
                write_files(files, Path(place, manifest.sha256))
                hashes[manifest.sha256] = {
                    name: hash_file(Path(place, manifest.sha256, name)) for name in files
                }
        first = next(iter(hashes), None)
        for sha256, own in hashes.items():
            if first is not None and own != hashes[first]:
                raise GraftError(
                    f"{image.folder}: its manifests {first[:12]}… and {sha256[:12]}… carry different "
                    "bundles, so that no receipts are those of the image. Sign an image of each."
                )
        yield None if first is None else Carried(_open(image, Path(place, first)), tuple(hashes))


def _open(image: OciImage, folder: Path) -> Bundle:
    """Open the bundle that was unpacked into a folder; errors name the image, and not that folder."""
    try:
        return open_bundle(folder)
    except BundleError as error:
        reason = error.message.replace(f"{folder}/", "").replace(f"{folder}: ", "")
        raise BundleError(error.code, f"{image.folder}: of the bundle in it, {reason}") from error


def _find_bundle(image: OciImage, manifest: ImageManifest) -> dict[str, LayerEntry] | None:
    """Return the files of the bundle that an image of one platform serves; None if it carries none."""
    if manifest.layers and all(map(_is_document, manifest.layers)):
        return None  # what is said about an image, such as where it comes from, and no image
    tree = FileTree(manifest.layers)
    words = [PurePosixPath(word).as_posix().strip("/") for word in manifest.command if word.startswith("/")]
    found = [path for path, data in tree.read(tree.named(MANIFEST_FILE)) if _is_bundle(data)]
    # A service follows a link there, whatever it leads to.
    links = [f"{word}/{MANIFEST_FILE}" for word in (*words, USUAL_PLACE)]
    found += [path for path in links if tree.has_other(path)]
    if not found:
        return None
    places = [path.rpartition("/")[0] for path in found]
    served = next((word for word in words if word in places), USUAL_PLACE)
    others = [place for place in places if place != served]
    if others:
        raise GraftError(
            f"{image.folder}: holds a bundle at /{others[0]}, and serves /{served}, so that it is not clear "
            "whose receipts are the image's. Make it again, with one bundle, in /models."
        )
    try:
        return tree.files_below(served)
    except GraftError as error:
        raise GraftError(f"{image.folder}: {error}") from error


def _is_bundle(data: bytes) -> bool:
    """Return whether the content of a manifest is that of a bundle, and not of something else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and set(document) >= BUNDLE_KEYS


def _is_document(layer: Path) -> bool:
    """Return whether a layer is a JSON document, which is no archive."""
    with layer.open("rb") as file:
        if not file.read(64).lstrip().startswith(b"{"):
            return False
    try:
        json.loads(layer.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True
