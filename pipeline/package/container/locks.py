"""What the image is made of, pinned by hashes: packages of Debian, and packages of Python."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

DEBIAN, PYTHON = "debian.lock", "python.lock"
SIGNING, GRPC = "signing", "grpc"
"""What a service may need beside the rest, each with a lock of its own."""
_REQUIREMENT = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A package in one version, and its file.

    Attributes:
        name: Its name.
        version: Its version.
        sha256: SHA-256 of the file, in hexadecimal.
        path: Path of a Debian package below the mirror's root; empty for a package of Python.
    """

    name: str
    version: str
    sha256: str
    path: str = ""


def read_debian() -> tuple[Pin, ...]:
    """Return the packages of Debian: one a line, with name, version, SHA-256 and path."""
    return tuple(Pin(*line.split()) for line in _read(DEBIAN))


def hash_debian() -> str:
    """Return the SHA-256, in hexadecimal, of the list of the packages of Debian with all their hashes."""
    return hashlib.sha256("\n".join(_read(DEBIAN)).encode()).hexdigest()


def read_python(*extras: str) -> tuple[Pin, ...]:
    """Return the packages of Python, which the files hold as pip takes them with ``--require-hashes``.

    Args:
        extras: What the service needs besides: :data:`SIGNING` to check the signature of a bundle,
            :data:`GRPC` to answer over gRPC.
    """
    lines = [line for name in (PYTHON, *map(name_lock, extras)) for line in _read(name)]
    matches = (_REQUIREMENT.fullmatch(line) for line in lines)
    return tuple(Pin(*match.groups()) for match in matches if match)


def name_lock(extra: str) -> str:
    """Return the name of the lock of what a service may need besides."""
    return f"{extra}.lock"


def _read(name: str) -> list[str]:
    text = resources.files("pipeline.package.container").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
