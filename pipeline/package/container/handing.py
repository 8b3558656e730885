"""A finished image handed over to a program that runs containers."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.container.layout import WrittenImage, open_layout


@dataclass(frozen=True)
class Engine:
    """A program that keeps images.

    Attributes:
        program: Name of the program.
        command: Returns the arguments that take an image, from the layout's folder and an archive of it.
    """

    program: str
    command: Callable[[Path, Path], list[str]]


ENGINES = {
    engine.program: engine
    for engine in (
        Engine("docker", lambda _, archive: ["load", "--input", str(archive)]),
        Engine("podman", lambda layout, _: ["pull", f"oci:{layout}"]),
        Engine("buildah", lambda layout, _: ["pull", f"oci:{layout}"]),
    )
}


def hand_over(layout: Path, program: str) -> str:
    """Give an image to a program, under the name that its layout has for it.

    The layout is whole before, and stays whatever the program does.

    Args:
        layout: The folder of the image's OCI layout.
        program: ``docker``, ``podman`` or ``buildah``.

    Returns:
        The name under which the program has it.

    Raises:
        GraftError: The program is not there, or does not take the image.
    """
    engine, name = ENGINES[program], open_layout(layout).name
    path = shutil.which(engine.program)
    if path is None:
        raise GraftError(
            f"{program}: is not installed here. The image is whole without it: {layout}. "
            "It can be taken elsewhere: skopeo copy oci:LAYOUT docker://REGISTRY/NAME:TAG"
        )
    with tempfile.TemporaryDirectory(prefix="graft-image-") as folder:
        archive = Path(folder, "image.tar")
        if program == "docker":  # which reads archives alone
            _archive(archive, layout)
        output = _run([path, *engine.command(layout, archive)], program, layout)
    if program == "docker":
        return name
    words = output.split()
    if not words:
        raise GraftError(
            f"{program} took the image, but did not say what it calls it, so that it has no name there. "
            f"The image itself is whole: {layout}"
        )
    _run([path, "tag", words[-1], name], program, layout)
    return f"localhost/{name}"


def _list_parts(image: WrittenImage) -> dict[str, object]:
    def place(path: Path) -> str:
        return path.relative_to(image.folder).as_posix()

    layers = [place(layer) for layer in image.layers]
    return {"Config": place(image.config), "RepoTags": [image.name], "Layers": layers}


def _archive(archive: Path, layout: Path) -> None:
    """Write a layout as an archive, with the list of its parts that Docker reads without containerd's store.

    That list, ``manifest.json``, is of Docker's own form before OCI's. ``docker save`` adds it as well.
    """
    parts = json.dumps([_list_parts(open_layout(layout))]).encode()
    try:
        with tarfile.open(archive, "w") as file:
            for path in sorted(layout.rglob("*")):
                file.add(path, path.relative_to(layout).as_posix(), recursive=False)
            entry = tarfile.TarInfo("manifest.json")
            entry.size = len(parts)
            file.addfile(entry, io.BytesIO(parts))
    except OSError as error:
        raise GraftError(
            f"{archive.parent}: the archive for docker cannot be written ({error.strerror}). Free space, "
            "or name another folder for temporary files by TMPDIR. "
            f"The image itself is whole: {layout}"
        ) from error


def _run(command: list[str], program: str, layout: Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise GraftError(
            f"{program} cannot be started ({error.strerror}). The image itself is whole: {layout}"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit {done.returncode}"]
        said = reason[0][:300]
        text = said if said.endswith((".", "?", "!")) else f"{said}."
        raise GraftError(f"{program} did not take the image: {text} The image itself is whole: {layout}")
    return done.stdout
