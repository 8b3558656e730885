"""The stores of BentoML, and the model in them, which is the bundle's folder as it is."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from pipeline.package.bento.describing import list_labels, list_metadata
from pipeline.package.files import bundle_files
from serving.model.bundle import Bundle
from serving.model.envelope import STORE_FILE


def do_not_track() -> None:
    """Keep BentoML, which is imported after this, from reporting what it does to its makers."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")


def place_of(store: str, tag: str) -> Path:
    """Return the folder where BentoML keeps a model or a Bento.

    Args:
        store: ``models`` or ``bentos``.
        tag: Its tag.
    """
    home = os.environ.get("BENTOML_HOME") or Path.home() / "bentoml"
    return Path(home, store, *tag.split(":"))


def store_model(bundle: Bundle, tag: str) -> str:
    """Put a bundle into the store of models, unless it is there already, and return its tag."""
    import bentoml

    if holds_model(bundle, tag) and (place_of("models", tag) / "model.yaml").is_file():
        return tag
    # It is of another bundle, or was left by a killed process.
    shutil.rmtree(place_of("models", tag), ignore_errors=True)
    with bentoml.models.create(tag, labels=list_labels(bundle), metadata=list_metadata(bundle)) as model:
        for path in bundle_files(bundle):
            place = Path(model.path, path.relative_to(bundle.folder))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
    return str(model.tag)


def holds_model(bundle: Bundle, tag: str) -> bool:
    """Return whether the store of models holds every file of a bundle, byte by byte, and no other."""
    stored, paths = place_of("models", tag), bundle_files(bundle)
    found = {path.relative_to(stored) for path in stored.rglob("*") if path.is_file()} - {Path(STORE_FILE)}
    return found == {path.relative_to(bundle.folder) for path in paths} and are_same_files(
        bundle.folder, stored, paths
    )


def are_same_files(source: Path, stored: Path, paths: list[Path]) -> bool:
    """Return whether each file of a source folder is in the store, byte by byte.

    Args:
        source: The source folder.
        stored: Its copy in the store.
        paths: The files in the source folder.
    """
    files = [path.relative_to(source) for path in paths]
    return all(
        (stored / file).is_file() and filecmp.cmp(source / file, stored / file, shallow=False)
        for file in files
    )
