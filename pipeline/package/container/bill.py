"""The bill of materials of an image as CycloneDX, and its licences as a table."""

from __future__ import annotations

import csv
import io
import re
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.machine.extras import require
from pipeline.package.container.entries import read_deb
from pipeline.package.container.locks import Pin

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

BILL, LICENCES = "sbom.cdx.json", "licences.csv"
UNKNOWN, SEE = "not stated", "see usr/share/doc/*/copyright"
_DOCUMENTS = re.compile(r"usr/share/doc/([^/]+)(/copyright)?")
_CLASSIFIER = "License :: "
_SHORT = 80  # characters; a longer text is no name of a licence but the licence itself
Files = Sequence[tuple[Pin, Path]]


@dataclass(frozen=True, order=True)
class Part:
    """A package of an image.

    Attributes:
        ecosystem: ``deb`` or ``pypi``, as package URLs have it.
        pin: Its name, version and hash.
        licence: Its licence as it states it.
    """

    ecosystem: str
    pin: Pin
    licence: str

    def url(self) -> str:
        """Return its package URL (https://github.com/package-url/purl-spec)."""
        from packageurl import PackageURL

        where = {"arch": "amd64", "distro": "debian-12"} if self.ecosystem == "deb" else {}
        namespace = "debian" if self.ecosystem == "deb" else None
        return PackageURL(self.ecosystem, namespace, self.pin.name, self.pin.version, where).to_string()


def write_bill(folder: Path, digest: str, debian: Files, python: Files) -> None:
    """Write the bill of materials and the list of licences.

    Args:
        folder: The folder that both are written to.
        digest: Digest of the image's manifest.
        debian: Packages of Debian, with their files.
        python: Packages of Python, with their wheels.

    Raises:
        GraftError: The extra ``oci`` is not installed.
        OSError: They cannot be written.
    """
    require("cyclonedx")
    licences = _debian_licences([path for _, path in debian])
    parts = [Part("deb", pin, licences.get(pin.name, UNKNOWN)) for pin, _ in debian]
    parts += [Part("pypi", pin, _python_licence(path)) for pin, path in python]
    (folder / BILL).write_text(_write_cyclonedx(parts, digest), encoding="utf-8")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["ecosystem", "name", "version", "licence"])
    rows.writerows([part.ecosystem, part.pin.name, part.pin.version, part.licence] for part in parts)
    (folder / LICENCES).write_text(table.getvalue(), encoding="utf-8")


def _write_cyclonedx(parts: Sequence[Part], digest: str) -> str:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    image = Component(name="container", type=ComponentType.CONTAINER, version=digest, bom_ref="container")
    bom = Bom(
        # Of the same image the same: neither the time nor chance is in it.
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, digest),
        metadata=BomMetaData(component=image, timestamp=datetime.fromtimestamp(0, UTC)),
        components=[_component(part) for part in parts],
    )
    bom.register_dependency(image, list(bom.components))
    return JsonV1Dot6(bom).output_as_string(indent=1)


def _component(part: Part) -> Component:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    known = part.licence not in {UNKNOWN, SEE}
    return Component(
        name=part.pin.name,
        version=part.pin.version,
        bom_ref=part.url(),
        purl=PackageURL.from_string(part.url()),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.pin.sha256)],
        licenses=[LicenseFactory().make_from_string(part.licence)] if known else [],
    )


def _debian_licences(packages: Sequence[Path]) -> dict[str, str]:
    """Return the licences of packages, by their names, from the copyright files that they hold or link to."""
    texts: dict[str, str] = {}
    links: dict[str, str] = {}
    for entry in (entry for package in packages for entry in read_deb(package)):
        match = _DOCUMENTS.fullmatch(entry.path)
        if match and match[2] and entry.kind == "file":
            texts[match[1]] = _name_licences(entry.content.decode(errors="replace"))
        elif match and entry.kind == "link":
            links[match[1]] = PurePosixPath(entry.target).name
    return texts | {name: texts[target] for name, target in links.items() if target in texts}


def _name_licences(text: str) -> str:
    """Return the licences that a copyright file names, if it has the form that machines read (DEP 5)."""
    if not text.startswith("Format:"):
        return SEE
    names = {name.strip() for name in re.findall(r"^License: *(\S[^\n]*)$", text, re.MULTILINE)}
    return "; ".join(sorted(name for name in names if len(name) <= _SHORT)) or SEE


def _python_licence(wheel: Path) -> str:
    """Return the licence that a wheel's metadata state: an expression, a name, or classifiers."""
    fields = _read_metadata(wheel)
    stated = fields["License-Expression"] or fields["License"] or ""
    if stated and len(stated) <= _SHORT and "\n" not in stated:
        return str(stated).strip()
    classifiers = [text for text in fields.get_all("Classifier", []) if text.startswith(_CLASSIFIER)]
    return "; ".join(text.rpartition(" :: ")[2] for text in classifiers) or UNKNOWN


def _read_metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode(errors="replace"), headersonly=True)
