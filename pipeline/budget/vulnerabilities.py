"""Known vulnerabilities of packages, from a dump in the format of OSV, without a network.

A dump is what https://osv.dev offers for each ecosystem as ``all.zip``: one JSON document a vulnerability
(https://ossf.github.io/osv-schema/).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.budget.contents import Contents, Ecosystem, Package, normalised
from pipeline.budget.osv import Affected, Document, Event, Range
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
        GraftError: A dump cannot be read, or tells nothing about an ecosystem that the image has packages of,
            or the image does not say of which release of Debian its packages are.
    """
    packages = _by_name(contents)
    found: dict[str, list[_Named]] = {}
    covered: set[str] = set()
    newest = ""
    for document in _read_all(dumps):
        newest = max(newest, document.modified)
        for affected in document.affected:
            covered.add(affected.package.ecosystem)
            if document.withdrawn:
                continue
            for package in packages.get(_place_of(affected), ()):
                match = find_match(package, affected)
                if match is not None:
                    known = found.setdefault(package.source, [])
                    for names in document.identities():
                        _join(known, _Named(names, _describe(package, match, document)))
    _require_covered(contents, covered, dumps)
    return Known(tuple(sorted(each.named() for known in found.values() for each in known)), newest)


@dataclass(frozen=True)
class _Named:
    """A vulnerability of a package.

    Attributes:
        names: All names that it is known to have.
        first: What the first document says of it.
    """

    names: frozenset[str]
    first: Vulnerability

    def named(self) -> Vulnerability:
        """Return it by the name of CVE, if it has one."""
        return replace(self.first, id=min(self.names, key=lambda name: (not name.startswith("CVE-"), name)))


def _join(known: list[_Named], new: _Named) -> None:
    """Add a vulnerability to those of a package; those that share a name, if over a third one, are one."""
    same = [each for each in known if each.names & new.names]
    known[:] = [each for each in known if not each.names & new.names]
    first = same[0].first if same else new.first
    known.append(_Named(new.names.union(*(each.names for each in same)), first))


def require_dumps(dumps: Sequence[Path]) -> None:
    """Refuse dumps that are not there, before anything is measured beside them.

    Args:
        dumps: Their paths.

    Raises:
        GraftError: There is nothing at one of them.
    """
    missing = [dump for dump in dumps if not dump.exists()]
    if missing:
        raise GraftError(f"{missing[0]}: there is no such dump of OSV. {SOURCES}")


def _by_name(contents: Contents) -> Mapping[tuple[str, str], list[Package]]:
    """Return the packages by the ecosystem and the name that OSV gives them, one of each source package."""
    once = {
        (package.ecosystem, package.source, package.source_version): package for package in contents.packages
    }
    found: dict[tuple[str, str], list[Package]] = {}
    for package in once.values():
        # What is said of Debian without a release is said of each.
        for ecosystem in {package.ecosystem, _ecosystem_of(package, contents)}:
            found.setdefault((ecosystem, package.source), []).append(package)
    return found


def _ecosystem_of(package: Package, contents: Contents) -> str:
    """Return the name that OSV has for where a package comes from, which of Debian is that of a release."""
    if package.ecosystem != "Debian":
        return package.ecosystem
    if not contents.release:
        raise GraftError(
            "The image has packages of Debian, but its os-release has no VERSION_ID, so that nobody knows "
            "which vulnerabilities they have. Write the image again: graft package RUN --image"
        )
    return f"Debian:{contents.release}"


def _read_all(dumps: Iterable[Path]) -> Iterator[Document]:
    for dump in dumps:
        try:
            yield from _read(dump)
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
            raise GraftError(f"{dump}: is no dump of OSV ({error}). {SOURCES}") from error


def _read(path: Path) -> Iterator[Document]:
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


def _parse(data: bytes, name: str) -> Document:
    try:
        return Document.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ValueError(f"{name}: {'.'.join(map(str, fault['loc']))} {fault['msg']}") from error


def _place_of(affected: Affected) -> tuple[str, str]:
    ecosystem, name = affected.package.ecosystem, affected.package.name
    return ecosystem, normalised(name) if ecosystem == "PyPI" else name


@dataclass(frozen=True)
class Match:
    """That a package's version is affected.

    Attributes:
        fixed: The first version after it that is not; empty if there is none.
    """

    fixed: str


def find_match(package: Package, affected: Affected) -> Match | None:
    """Return whether a package's version is among those that are affected, as the schema evaluates it.

    A range that names a version which cannot be compared counts as one that holds the package's.

    Args:
        package: The installed package.
        affected: One element of a document's ``affected``.
    """
    read = _reader_of(package.ecosystem)
    ranges = [each for each in affected.ranges if each.type in {"ECOSYSTEM", "SEMVER"}]
    holding = [each for each in ranges if _holds(package.source_version, read, each)]
    if holding:
        return Match(_first_fixed(package.source_version, read, holding))
    if any(_are_equal(package.source_version, each, read) for each in affected.versions):
        return Match(_first_fixed(package.source_version, read, ranges))
    return None


def _reader_of(ecosystem: Ecosystem) -> Callable[[str], Any]:
    """Return what turns a version's text into a value that can be compared; it raises ValueError."""
    if ecosystem == "Debian":
        return DebianVersion
    from packaging.version import Version

    return Version


def _are_equal(first: str, second: str, read: Callable[[str], Any]) -> bool:
    """Return whether two texts are the same version: of PyPI, 2.0 is 2.0.0."""
    try:
        return first == second or bool(read(first) == read(second))
    except ValueError:
        return False


def _holds(version: str, read: Callable[[str], Any], versions: Range) -> bool:
    try:
        return _is_inside(version, read, versions.events)
    except ValueError:
        return True


def _is_inside(version: str, read: Callable[[str], Any], events: Sequence[Event]) -> bool:
    """Return whether a version lies in a range, which is given by events at which it begins or ends."""
    installed = read(version)
    limits = [event.limit for event in events if event.limit is not None]
    if limits and not any(limit == "*" or installed < read(limit) for limit in limits):
        return False
    # At one version, what ends there comes last: (is it the first of all, version, does it end, kind).
    known = sorted(
        (at != "0", read(at), kind != "introduced", kind)
        for event in events
        for kind, at in event.model_dump(exclude={"limit"}, exclude_none=True).items()
    )
    inside = False
    for is_later, at, _, kind in known:
        if not is_later or (installed > at if kind == "last_affected" else installed >= at):
            inside = kind == "introduced"
    return inside


def _first_fixed(version: str, read: Callable[[str], Any], ranges: Sequence[Range]) -> str:
    """Return the lowest version after an installed one at which one of the ranges ends."""
    ends = [event.fixed for each in ranges for event in each.events if event.fixed is not None]
    try:
        later = sorted((read(end), end) for end in ends if read(end) > read(version))
    except ValueError:
        return ends[0] if ends else ""
    return later[0][1] if later else ""


def _describe(package: Package, match: Match, document: Document) -> Vulnerability:
    summary = " ".join((document.summary or document.details).split())[:200]
    return Vulnerability(package.source, package.source_version, document.id, match.fixed, summary)


def _require_covered(contents: Contents, covered: set[str], dumps: Sequence[Path]) -> None:
    """Refuse dumps that could not tell of a vulnerability if there were one."""
    missing = sorted({_ecosystem_of(package, contents) for package in contents.packages} - covered)
    if missing:
        names = ", ".join(str(dump) for dump in dumps)
        raise GraftError(f"{names}: tells nothing about packages of {' and '.join(missing)}. {SOURCES}")
