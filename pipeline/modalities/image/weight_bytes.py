"""What a file is by its first bytes, whatever its name ends with, and what to do where it is no weights."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pipeline.errors import GraftError

Kind = Literal["safetensors", "zip", "pickle", "other"]
HEAD_BYTES = 512
LENGTH_BYTES = 8
"""Bytes of the length of its header that a safetensors file begins with."""
SUFFIXES = (
    ".safetensors",
    ".pth",
    ".pt",
    ".bin",
    ".ckpt",
    ".tar",
    ".h5",
    ".keras",
    ".msgpack",
    ".npz",
    ".onnx",
)
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")
OF_KERAS = (
    "it is a file of Keras's",
    "Name one of keras.applications' networks as `name: keras:NAME`, or save the tensors with torch.",
)
MAGIC: Mapping[bytes, tuple[str, str]] = {
    b"version https://git-lfs": (
        "it is git-LFS's pointer to the file, not the file",
        "Fetch the file itself: git lfs pull.",
    ),
    b"\x89HDF\r\n\x1a\n": OF_KERAS,
    b"\x1f\x8b": ("it is compressed by gzip", "Unpack it, and name what is in it."),
    b"\xfd7zXZ": ("it is compressed by xz", "Unpack it, and name what is in it."),
    b"BZh": ("it is compressed by bzip2", "Unpack it, and name what is in it."),
    b"GGUF": ("it is a GGUF file, whose weights are quantised", "Name the weights as they were before."),
    b"\x93NUMPY": ("it is one array of NumPy's", "Save named tensors with torch or safetensors."),
}
"""What begins a file that holds no named tensors: what it is, and what to do."""


def kind_of(path: Path) -> Kind:
    """Return by which library a file can be read: ``other`` where its first bytes are of no known kind.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(LENGTH_BYTES + 1)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # Pickles of protocols 2 to 5, the first of which torch's older files have.
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "pickle"
    return "safetensors" if head[LENGTH_BYTES:] == b"{" else "other"


def explain_bytes(path: Path) -> tuple[str, str] | None:
    """Return what a file is that holds no tensors, and what to do; None where its bytes do not say.

    Args:
        path: The file, which can be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "it is empty", ""
    known = next((said for magic, said in MAGIC.items() if head.startswith(magic)), None)
    if known is not None:
        return known
    if head.lstrip().lower().startswith(PAGES):
        return (
            "it is a web page, not the file",
            "Download the file itself: on the hub, /resolve/ stands in its address in place of /blob/.",
        )
    if head.startswith(b"PK"):
        return _explain_archive(path)
    if _is_text(head):
        line = head.decode(errors="replace").strip().splitlines()[0][:40]
        return f"it is text, which begins with `{line}`", ""
    return None


def _explain_archive(path: Path) -> tuple[str, str] | None:
    """Return what a zip archive is that torch did not write; None for one of torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "it is a zip archive that is cut off or damaged", "Download or copy it again."
    if any(name.endswith((".pkl", "/version")) for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return OF_KERAS
    return f"it is a zip archive that torch did not write, with `{names[0] if names else ''}`", ""


def _is_text(head: bytes) -> bool:
    """Say whether all bytes are those of text."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and all(letter.isprintable() or letter.isspace() for letter in text)


def refuse_folder(folder: Path, expected: tuple[str, ...]) -> GraftError:
    """Return the error for a folder without weights under their usual names, with the files that it may be.

    Args:
        folder: The folder.
        expected: The usual names.
    """
    found = sorted(path.name for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.is_file())
    has = f"It has {', '.join(found[:5])}: name one of these." if found else "Name the file of the weights."
    return GraftError(f"backbone.weights: {folder} is a folder without {' or '.join(expected)}. {has}")
