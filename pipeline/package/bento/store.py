"""The stores of BentoML, and the model in them, which is the bundle's folder as it is."""

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.bento.describing import list_labels, list_metadata
from pipeline.package.files import bundle_files
from serving.model.bundle import Bundle
from serving.model.envelope import STORE_FILE

HOME, LOCK = "BENTOML_HOME", "graft.lock"
STORES = ("models", "bentos", "tmp")


@contextmanager
def open_stores() -> Iterator[None]:
    """Make BentoML's stores, and keep other commands of Graft from writing to them meanwhile.

    BentoML, which is imported after this, is kept from reporting to its makers.

    Raises:
        GraftError: The stores cannot be made or written.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    home = bentoml_home()
    if home == Path():
        raise GraftError(f"{HOME} is empty, which is the present folder for BentoML. Name one, or unset it.")
    try:
        for store in STORES:
            (home / store).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=home / store).close()
        lock = (home / LOCK).open("w")
    except OSError as error:
        raise GraftError(
            f"{home}: BentoML's stores cannot be written there ({error.strerror}). Name another place for "
            f"them in the variable {HOME}."
        ) from error
    with lock:
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bentoml_home() -> Path:
    """Return the folder of BentoML's stores, as it finds it, without importing it.

    It puts in ``~`` and variables as often as that changes anything.
    """
    home = os.environ.get(HOME, str(Path.home() / "bentoml"))
    while (expanded := os.path.expanduser(os.path.expandvars(home))) != home:  # noqa: PTH111 - as BentoML
        home = expanded
    return Path(home)


def place_of(store: str, tag: str) -> Path:
    """Return the folder where BentoML keeps a model or a Bento.

    Args:
        store: ``models`` or ``bentos``.
        tag: Its tag.
    """
    return bentoml_home().joinpath(store, *tag.split(":"))


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
