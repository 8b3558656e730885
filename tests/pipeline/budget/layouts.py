"""Small OCI layouts, written here by hand so that no code of the pipeline says what an image is."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

File = tuple[bytes, int]
SYSTEM: Mapping[str, File] = {
    "usr/lib/os-release": (b'ID=debian\nVERSION_ID="12"\n', 0o644),
    "usr/bin/python3.11": (b"\x7fELF" + bytes(1_000_000), 0o755),
    "var/lib/dpkg/status.d/libc6": (b"Package: libc6\nSource: glibc\nVersion: 2.36-9+deb12u10\n\n", 0o644),
    "var/lib/dpkg/status.d/libgcc-s1": (
        b"Package: libgcc-s1\nSource: gcc-12 (12.2.0-14)\nVersion: 12.2.0-14+b1\n\n",
        0o644,
    ),
}
DEPENDENCIES: Mapping[str, File] = {
    "opt/site/Jinja2-3.1.3.dist-info/METADATA": (b"Name: Jinja2\nVersion: 3.1.3\n\nLong text\n", 0o644),
    "opt/site/numpy-2.4.6.dist-info/METADATA": (b"Name: numpy\nVersion: 2.4.6\n", 0o644),
}
BUNDLE: Mapping[str, File] = {"models/model.onnx": (bytes(500_000), 0o644)}


def write_layout(folder: Path, layers: Sequence[Mapping[str, File]] = (SYSTEM, DEPENDENCIES, BUNDLE)) -> Path:
    """Write an image of some layers, each a mapping from path to content and mode."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    stored = [store(_pack(layer)) for layer in layers]
    manifest = store(json.dumps({"config": store(b"{}"), "layers": stored}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


def _pack(files: Mapping[str, File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as layer:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            layer.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
