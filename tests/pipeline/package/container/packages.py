"""Small packages of Debian and wheels, written here by hand."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.package.container.locks import Pin

CONTROL = "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nDescription: a test\n"
WHEEL = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_deb(folder: Path, name: str, members: Mapping[str, bytes | str], mode: int = 0o644) -> Path:
    """Write a package; a text is the target of a symbolic link."""
    path = folder / f"{name}.deb"
    control = {"./control": CONTROL.format(name=name).encode()}
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": pack(control, 0o644),
        "data.tar.xz": pack(members, mode),
    }
    path.write_bytes(b"!<arch>\n" + b"".join(_ar_member(name, data) for name, data in parts.items()))
    return path


def _ar_member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


def pack(members: Mapping[str, bytes | str], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.mode, member.mtime, member.uname = mode, 1_700_000_000, "somebody"
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_wheel(folder: Path, name: str, members: Mapping[str, bytes]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: MIT\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        described = {f"{name}-1.0.dist-info/METADATA": metadata, f"{name}-1.0.dist-info/WHEEL": WHEEL}
        for each, content in {**members, **described}.items():
            archive.writestr(each, content)
    return path


def pin_of(path: Path, name: str) -> Pin:
    return Pin(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
