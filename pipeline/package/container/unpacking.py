"""An image's files unpacked to a folder, which is then the root of a container."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError


@dataclass(frozen=True)
class Unpacked:
    """An unpacked image.

    Attributes:
        root: The folder with its files.
        command: The command that it runs.
        environment: The environment variables that it sets.
        user: Number of the user that it runs as.
    """

    root: Path
    command: tuple[str, ...]
    environment: dict[str, str]
    user: int


def unpack(layout: Path, root: Path) -> Unpacked:
    """Unpack the image of an OCI layout; each file of the layout must have the hash that names it.

    Args:
        layout: The folder with ``index.json``.
        root: The folder to unpack to, which is empty.

    Raises:
        GraftError: It is no layout that Graft wrote, or was changed.
        OSError: It cannot be unpacked.
    """
    try:
        index = json.loads((layout / "index.json").read_bytes())
        manifest = json.loads(_read(layout, index["manifests"][0]["digest"]))
        document = json.loads(_read(layout, manifest["config"]["digest"]))
        settings, layers = document["config"], [layer["digest"] for layer in manifest["layers"]]
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise GraftError(
            f"{layout}: is no OCI layout ({error}). Write it: graft package RUN --image"
        ) from error
    for digest in layers:
        _check(layout, digest)
        with tarfile.open(_path(layout, digest)) as layer:
            layer.extractall(root, filter="tar")
    return Unpacked(
        root=root,
        command=(*settings["Entrypoint"], *settings["Cmd"]),
        environment=dict(_split(settings["Env"])),
        user=int(settings["User"].partition(":")[0]),
    )


def _split(variables: Sequence[str]) -> list[tuple[str, str]]:
    parts = (variable.partition("=") for variable in variables)
    return [(name, value) for name, _, value in parts]


def _path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _read(layout: Path, digest: str) -> bytes:
    _check(layout, digest)
    return _path(layout, digest).read_bytes()


def _check(layout: Path, digest: str) -> None:
    with _path(layout, digest).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{found}" != digest:
        raise GraftError(
            f"{layout}: the file {digest} was changed, so nothing of the image is run. "
            "Write it anew: graft package RUN --image"
        )
