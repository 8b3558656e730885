"""Known vulnerabilities of packages, from a dump in the format of OSV, without a network.

A dump is what https://osv.dev offers for each ecosystem as ``all.zip``: one JSON document a vulnerability
(https://ossf.github.io/osv-schema/).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.budget.contents import Contents, Ecosystem, Package, normalised
from pipeline.errors import GraftError
from pipeline.package.container.versions import DebianVersion

SOURCES = (
    "Get them from https://storage.googleapis.com/osv-vulnerabilities/PyPI/all.zip and .../Debian/all.zip"
)


@dataclass(frozen=True, order=True)
class Vulnerability:
    """A known vulnerability of an installed package.

    Attributes:
        package: Name of the package.
        version: Its version.
        id: The vulnerability's first name, such as ``CVE-2026-1234``.
        fixed: The first version without it, or an empty text if there is none.
        summary: What it is, in a line; may be empty.
    """

    package: str
    version: str
    id: str
    fixed: str
    summary: str


@dataclass(frozen=True)
class Known:
    """What a dump says of an image.

    Attributes:
        vulnerabilities: The vulnerabilities, each once for each source package.
        newest: When the newest of the dump's documents was modified, as RFC 3339 writes it.
    """

    vulnerabilities: tuple[Vulnerability, ...]
    newest: str


def find_vulnerabilities(contents: Contents, dumps: Sequence[Path]) -> Known:
    """Look up every package of an image.

    Args:
        contents: What the image holds.
        dumps: Zip files, JSON files, or folders of them.

    Raises:
        GraftError: A dump cannot be read, or tells nothing about an ecosystem that the image has packages of.
    """
    packages = _by_name(contents)
    found: dict[tuple[str, str], Vulnerability] = {}
    covered: set[str] = set()
    newest = ""
    for document in _read_all(dumps):
        newest = max(newest, str(document.get("modified", "")))
        names = _names_of(document)
        for affected in document.get("affected", []):
            place = _place_of(affected)
            covered.add(place[0].partition(":")[0])
            if document.get("withdrawn"):
                continue
            for package in packages.get(place, ()):
                if is_affected(package, affected):
                    key = (package.source, names[0])
                    found.setdefault(key, _describe(package, names[0], affected, document))
    _require_covered(contents, covered, dumps)
    return Known(tuple(sorted(found.values())), newest)


def _by_name(contents: Contents) -> Mapping[tuple[str, str], list[Package]]:
    """Return the packages by the ecosystem and the name that OSV gives them, one of each source package."""
    once = {
        (package.ecosystem, package.source, package.source_version): package for package in contents.packages
    }
    found: dict[tuple[str, str], list[Package]] = {}
    for package in once.values():
        ecosystem = f"Debian:{contents.release}" if package.ecosystem == "Debian" else package.ecosystem
        found.setdefault((ecosystem, package.source), []).append(package)
    return found


def _read_all(dumps: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for dump in dumps:
        try:
            yield from _read(dump)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise GraftError(f"{dump}: is no dump of OSV ({error}). {SOURCES}") from error


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the documents of a zip file, of a JSON file, or of all those in a folder."""
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if each.suffix in {".zip", ".json"}:
                yield from _read(each)
    elif path.suffix == ".json":
        yield _parse(path.read_bytes(), path.name)
    else:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield _parse(archive.read(name), name)


def _parse(data: bytes, name: str) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict) or "id" not in document:
        raise ValueError(f"{name} has no id")
    return document


def _names_of(document: Mapping[str, Any]) -> list[str]:
    """Return all names of a vulnerability, that of CVE first, by which the same one of two sources is known.

    Debian's documents name it as ``upstream``, those of PyPI as ``aliases``.
    """
    names = [document["id"], *document.get("aliases", []), *document.get("upstream", [])]
    return sorted(names, key=lambda name: (not str(name).startswith("CVE-"), str(name)))


def _place_of(affected: Mapping[str, Any]) -> tuple[str, str]:
    package = affected.get("package", {})
    ecosystem, name = str(package.get("ecosystem", "")), str(package.get("name", ""))
    return ecosystem, normalised(name) if ecosystem == "PyPI" else name


def is_affected(package: Package, affected: Mapping[str, Any]) -> bool:
    """Return whether a package's version is among those that are affected, as the schema evaluates it.

    A range that names a version which cannot be compared counts as one that holds the package's.

    Args:
        package: The installed package.
        affected: One element of a document's ``affected``.
    """
    if package.source_version in affected.get("versions", []):
        return True
    read = _reader_of(package.ecosystem)
    for each in affected.get("ranges", []):
        if each.get("type") not in {"ECOSYSTEM", "SEMVER"}:
            continue
        try:
            if _is_inside(package.source_version, read, each.get("events", [])):
                return True
        except ValueError:
            return True
    return False


def _reader_of(ecosystem: Ecosystem) -> Callable[[str], Any]:
    """Return what turns a version's text into a value that can be compared; it raises ValueError."""
    if ecosystem == "Debian":
        return DebianVersion
    from packaging.version import Version

    return Version


def _is_inside(version: str, read: Callable[[str], Any], events: Sequence[Mapping[str, str]]) -> bool:
    """Return whether a version lies in a range, which is given by events at which it begins or ends."""
    installed, lowest = read(version), read("0")
    known = [
        (lowest if at == "0" else read(at), kind)
        for event in events
        for kind, at in event.items()
        if kind in {"introduced", "fixed", "last_affected"}
    ]
    inside = False
    for at, kind in sorted(known, key=lambda event: event[0]):
        if at is lowest or (installed > at if kind == "last_affected" else installed >= at):
            inside = kind == "introduced"
    return inside


def _describe(
    package: Package, name: str, affected: Mapping[str, Any], document: Mapping[str, Any]
) -> Vulnerability:
    events = (event for each in affected.get("ranges", []) for event in each.get("events", []))
    fixed = next((event["fixed"] for event in events if "fixed" in event), "")
    text = str(document.get("summary") or document.get("details") or "")
    summary = " ".join(text.split())[:200]
    return Vulnerability(package.source, package.source_version, name, fixed, summary)


def _require_covered(contents: Contents, covered: set[str], dumps: Sequence[Path]) -> None:
    """Refuse dumps that could not tell of a vulnerability if there were one."""
    missing = sorted({package.ecosystem for package in contents.packages} - covered)
    if missing:
        names = ", ".join(str(dump) for dump in dumps)
        raise GraftError(f"{names}: tells nothing about packages of {' and '.join(missing)}. {SOURCES}")
