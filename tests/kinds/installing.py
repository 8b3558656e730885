"""Packages of kinds, as pip leaves them in a folder, and as a wheel."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
Points = Mapping[str, Mapping[str, str]]
"""By the group: the value of each entry point, by its name."""
ROWS: Points = {
    "graft.modalities": {"row": "graft_rows.modality:ROW"},
    "graft.inputs": {"row": "graft_rows.served:ROW"},
}


def write_points(points: Points) -> str:
    """``entry_points.txt``."""
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in own.items())
        for group, own in points.items()
    )


def install(folder: Path, points: Points = ROWS, name: str = "graft-rows") -> Path:
    """Put the rows' package and a distribution's metadata into a folder, which then goes on sys.path."""
    package, info = folder / "graft_rows", folder / f"{name.replace('-', '_')}-0.1.dist-info"
    if not package.exists():
        shutil.copytree(HERE / "rows", package, ignore=shutil.ignore_patterns("__pycache__"))
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA.format(name=name))
    (info / "entry_points.txt").write_text(write_points(points))
    return folder


def build_wheel(folder: Path, package: str, files: Mapping[str, str], points: Points) -> Path:
    """Write a wheel by hand.

    Args:
        folder: Where it goes.
        package: Import name of the package, which is also the distribution's.
        files: Content of the package's files, by name.
        points: The entry points.
    """
    info = f"{package}-0.1.dist-info"
    held = {f"{package}/{name}": content for name, content in files.items()} | {
        f"{info}/METADATA": METADATA.format(name=package),
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": write_points(points),
    }
    record = "".join(f"{name},,\n" for name in [*held, f"{info}/RECORD"])
    path = folder / f"{package}-0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in (held | {f"{info}/RECORD": record}).items():
            wheel.writestr(name, content)
    return path
