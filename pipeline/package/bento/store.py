"""The stores of BentoML, and the model in them, which is the bundle's folder as it is."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from pipeline.package.bento.describing import list_labels, list_metadata
from serving.model.bundle import Bundle


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

    if holds_model(bundle.folder, tag) and (place_of("models", tag) / "model.yaml").is_file():
        return tag
    # It is of another bundle, or was left by a killed process.
    shutil.rmtree(place_of("models", tag), ignore_errors=True)
    with bentoml.models.create(tag, labels=list_labels(bundle), metadata=list_metadata(bundle)) as model:
        shutil.copytree(bundle.folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def holds_model(folder: Path, tag: str) -> bool:
    """Return whether the store of models holds every file of a bundle's folder, byte by byte."""
    return are_same_files(
        folder, place_of("models", tag), [path for path in folder.rglob("*") if path.is_file()]
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
