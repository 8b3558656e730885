"""The contents of an OCI image, read from its layers without running it: sizes, packages and programs."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.errors import GraftError
from pipeline.package.container.layout import open_layout

MODELS = "models"
DPKG = ("var/lib/dpkg/status.d", "var/lib/dpkg/status")
PROGRAMS = frozenset({"bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"})
COMPILERS = ("usr/lib/gcc/", "usr/libexec/gcc/")
SITES = ("dist-packages", "site-packages")
EXECUTABLE = 0o111
BYTES_PER_MB = 1e6
Ecosystem = Literal["Debian", "PyPI"]


@dataclass(frozen=True, order=True)
class Package:
    """An installed package.

    Attributes:
        ecosystem: Where it comes from.
        name: Its name; of a Debian package the one that is installed.
        version: Its version.
        source: Name under which vulnerabilities are known: of a Debian package its source package.
        source_version: Version of that source package.
    """

    ecosystem: Ecosystem
    name: str
    version: str
    source: str
    source_version: str


@dataclass(frozen=True)
class Contents:
    """What an image holds.

    Attributes:
        size_mb: Size of all files but the model's, in MB of 10^6 bytes.
        model_mb: Size of the model's files, in MB of 10^6 bytes.
        packages: The packages of Debian and of Python, in order.
        programs: Names of the executable files in the folders of programs, and in those of GCC.
        modules: Names of the modules of Python beside those packages, whether a package brings them or not.
        release: Number of the Debian release, such as ``12``; empty if the image does not say.
    """

    size_mb: float
    model_mb: float
    packages: tuple[Package, ...]
    programs: frozenset[str]
    release: str
    modules: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """Return the names of all packages, programs and modules."""
        return self.programs | self.modules | {package.name for package in self.packages}


def read_contents(layout: Path) -> Contents:
    """Read an image in an OCI layout.

    Args:
        layout: The folder with ``index.json``.

    Raises:
        GraftError: It is no OCI layout, or a part of it is missing or damaged.
    """
    sizes = {True: 0, False: 0}
    packages: set[Package] = set()
    programs: set[str] = set()
    modules: set[str] = set()
    release = ""
    for path, member, content in _walk(layout):
        sizes[path.parts[0] == MODELS] += member.size
        modules |= _module_of(path)
        if _is_program(path, member):
            programs.add(path.name)
        if content is None:
            continue
        if path.name == "os-release":
            release = _read_release(content) or release
        elif path.name == "METADATA":
            packages.add(_read_wheel(content))
        else:
            packages |= set(_read_dpkg(content))
    return Contents(
        size_mb=sizes[False] / BYTES_PER_MB,
        model_mb=sizes[True] / BYTES_PER_MB,
        packages=tuple(sorted(packages)),
        programs=frozenset(programs),
        modules=frozenset(modules),
        release=release,
    )


def _walk(layout: Path) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo, str | None]]:
    """Yield each member of each layer with its path, and its text if that says something of packages."""
    for blob in open_layout(layout).layers:
        try:
            with tarfile.open(blob) as layer:
                for member in layer:
                    path = PurePosixPath(member.name.removeprefix("./").strip("/"))
                    if not path.parts:
                        continue
                    content = layer.extractfile(member) if member.isfile() and _tells(path) else None
                    yield path, member, content.read().decode(errors="replace") if content else None
        except (OSError, tarfile.TarError, EOFError) as error:
            raise _damaged(layout, f"the layer {blob.name[:12]} cannot be read ({error})") from error


def _damaged(layout: Path, reason: str) -> GraftError:
    return GraftError(f"{layout}: {reason}. Write the image again: graft package RUN --image")


def _is_program(path: PurePosixPath, member: tarfile.TarInfo) -> bool:
    parent = str(path.parent)
    if not (parent in PROGRAMS or parent.startswith(COMPILERS)):
        return False
    return member.issym() or (member.isreg() and bool(member.mode & EXECUTABLE)) or member.islnk()


def _module_of(path: PurePosixPath) -> set[str]:
    """Return the name of the module that a file is of, if it lies where Python looks for modules."""
    for place in SITES:
        if place in path.parts[:-1]:
            name = path.parts[path.parts.index(place) + 1]
            return set() if name.endswith((".dist-info", ".egg-info")) else {name.partition(".")[0]}
    return set()


def _tells(path: PurePosixPath) -> bool:
    """Return whether a file says which packages there are, or which release of Debian."""
    return (
        (path.name == "METADATA" and path.parent.suffix == ".dist-info")
        or (str(path.parent) == DPKG[0] and path.suffix != ".md5sums")
        or str(path) == DPKG[1]
        or str(path) in {"etc/os-release", "usr/lib/os-release"}
    )


def _read_release(content: str) -> str:
    lines = (line.partition("=") for line in content.splitlines())
    return next((value.strip('"') for key, _, value in lines if key == "VERSION_ID"), "")


def _read_wheel(content: str) -> Package:
    """Return the package that a METADATA file describes (Core metadata specifications, PyPA)."""
    fields = HeaderParser().parsestr(content, headersonly=True)
    name, version = normalised(fields["Name"] or "unknown"), fields["Version"] or "0"
    return Package("PyPI", name, version, name, version)


def normalised(name: str) -> str:
    """Return the name of a Python package as PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_dpkg(content: str) -> Iterator[Package]:
    """Yield the packages of a file of dpkg's, whose stanzas are divided by empty lines (deb-control(5))."""
    for stanza in content.strip().split("\n\n"):
        fields = HeaderParser().parsestr(stanza, headersonly=True)
        name, version = fields["Package"], fields["Version"]
        if not (name and version):
            continue
        # "Source: gcc-12 (12.2.0-14)" names the version as well, where it differs.
        source, _, source_version = (fields["Source"] or name).partition(" ")
        yield Package("Debian", name, version, source, source_version.strip("() ") or version)
