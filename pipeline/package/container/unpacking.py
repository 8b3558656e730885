"""An image's files unpacked to a folder, which is then the root of a container."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.container.layout import open_layout, require_whole


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
    image = open_layout(layout)
    try:
        require_whole(image.config)
        settings = json.loads(image.config.read_bytes())["config"]
        unpacked = Unpacked(
            root=root,
            command=(*settings["Entrypoint"], *settings["Cmd"]),
            environment=dict(_split(settings["Env"])),
            user=int(settings["User"].partition(":")[0]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise GraftError(
            f"{layout}: is no image that Graft wrote ({error}). Write it: graft package RUN --image"
        ) from error
    for blob in image.layers:
        require_whole(blob)
        with tarfile.open(blob) as layer:
            layer.extractall(root, filter="tar")
    return unpacked


def _split(variables: Sequence[str]) -> list[tuple[str, str]]:
    parts = (variable.partition("=") for variable in variables)
    return [(name, value) for name, _, value in parts]
