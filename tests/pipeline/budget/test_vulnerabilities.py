"""Vulnerabilities of an image's packages, from dumps as OSV writes them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.budget.contents import Contents, Package, read_contents
from pipeline.budget.osv import Affected
from pipeline.budget.vulnerabilities import find_match, find_vulnerabilities, require_dumps
from pipeline.errors import GraftError
from tests.pipeline.budget.layouts import write_layout

# As https://osv.dev has them, with the fields that matter here.
JINJA: dict[str, Any] = {
    "id": "GHSA-h75v-3vvj-5mfj",
    "aliases": ["CVE-2024-34064"],
    "modified": "2025-02-21T05:32:00Z",
    "summary": "Jinja vulnerable to HTML attribute injection",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.4"}]}],
            "versions": ["3.1.2", "3.1.3"],
        }
    ],
}
PYSEC: dict[str, Any] = {**JINJA, "id": "PYSEC-2024-1", "aliases": ["CVE-2024-34064", "GHSA-h75v-3vvj-5mfj"]}
GLIBC: dict[str, Any] = {
    "id": "DEBIAN-CVE-2025-4802",
    "upstream": ["CVE-2025-4802"],
    "modified": "2025-06-01T00:00:00Z",
    "details": "Untrusted LD_LIBRARY_PATH\nin a setuid program",
    "affected": [
        {
            "package": {"ecosystem": "Debian:12", "name": "glibc"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.36-9+deb12u11"}]}],
        },
        {
            "package": {"ecosystem": "Debian:11", "name": "glibc"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        },
    ],
}

GLIBC_MENDED: dict[str, Any] = json.loads(json.dumps(GLIBC).replace("deb12u11", "deb12u10"))
OTHER = [{"package": {"ecosystem": "PyPI", "name": "another"}}]


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return read_contents(write_layout(tmp_path / "layout"))


def write_dump(path: Path, documents: Sequence[dict[str, Any]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for document in documents:
            archive.writestr(f"{document['id']}.json", json.dumps(document))
    return path


def test_vulnerability_that_two_sources_name_is_counted_once(contents: Contents, tmp_path: Path) -> None:
    known = find_vulnerabilities(contents, [write_dump(tmp_path / "all.zip", [JINJA, PYSEC, GLIBC])])
    assert [(each.package, each.id, each.fixed) for each in known.vulnerabilities] == [
        ("glibc", "CVE-2025-4802", "2.36-9+deb12u11"),
        ("jinja2", "CVE-2024-34064", "3.1.4"),
    ]
    assert known.vulnerabilities[0].summary == "Untrusted LD_LIBRARY_PATH in a setuid program"
    assert known.newest == "2025-06-01T00:00:00Z"


@pytest.mark.parametrize("order", [1, -1])
def test_names_are_joined_over_a_third_document(contents: Contents, tmp_path: Path, order: int) -> None:
    chain = [
        {**JINJA, "id": "PYSEC-2024-1", "aliases": ["GHSA-h75v-3vvj-5mfj"]},
        {**JINJA, "id": "OTHER-1", "aliases": ["CVE-2024-34064"]},
        JINJA,
    ]
    dump = write_dump(tmp_path / "all.zip", [*chain[::order], GLIBC])
    known = find_vulnerabilities(contents, [dump]).vulnerabilities
    assert [each.id for each in known] == ["CVE-2025-4802", "CVE-2024-34064"]


@pytest.mark.parametrize("key", ["upstream", "aliases"])
def test_advisory_of_several_vulnerabilities_counts_each_of_them_once(
    contents: Contents, tmp_path: Path, key: str
) -> None:
    advisory = {**GLIBC, "id": "DSA-1-1", "upstream": [], key: ["CVE-2025-4802", "CVE-2025-9999"]}
    dump = write_dump(tmp_path / "all.zip", [advisory, GLIBC, JINJA])
    known = find_vulnerabilities(contents, [dump]).vulnerabilities
    assert [each.id for each in known] == ["CVE-2025-4802", "CVE-2025-9999", "CVE-2024-34064"]


def test_withdrawn_and_mended_ones_do_not_count(contents: Contents, tmp_path: Path) -> None:
    withdrawn = {**JINJA, "withdrawn": "2025-01-01T00:00:00Z"}
    dump = write_dump(tmp_path / "all.zip", [withdrawn, GLIBC_MENDED])
    assert find_vulnerabilities(contents, [dump]).vulnerabilities == ()


def test_dump_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    require_dumps([write_dump(tmp_path / "all.zip", [JINJA])])
    with pytest.raises(GraftError, match=r"none\.zip: there is no such dump of OSV\. Get them from"):
        require_dumps([tmp_path / "all.zip", tmp_path / "none.zip"])


def test_dump_that_says_nothing_of_the_packages_is_no_proof(contents: Contents, tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="tells nothing about packages of Debian"):
        find_vulnerabilities(contents, [write_dump(tmp_path / "all.zip", [JINJA])])


@pytest.mark.parametrize("data", [b"", b"PK", b"[]", b'{"no": "id"}'])
@pytest.mark.parametrize("name", ["all.zip", "one.json"])
def test_file_that_is_no_dump_is_refused(contents: Contents, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GraftError, match="is no dump of OSV"):
        find_vulnerabilities(contents, [tmp_path / name])


@pytest.mark.parametrize(
    ("version", "events", "expected"),
    [
        ("1.5", [{"introduced": "1.0"}, {"fixed": "2.0"}], True),
        ("2.0", [{"introduced": "1.0"}, {"fixed": "2.0"}], False),
        ("2.0", [{"introduced": "1.0"}, {"last_affected": "2.0"}], True),
        ("2.0.1", [{"introduced": "1.0"}, {"last_affected": "2.0"}], False),
        ("0.9", [{"introduced": "1.0"}, {"fixed": "2.0"}], False),
        ("3.1", [{"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.0"}], True),
        ("3.1", [{"introduced": "3.0"}, {"fixed": "2.0"}, {"introduced": "0"}], True),  # in any order
        ("2.5", [{"introduced": "3.0"}, {"fixed": "2.0"}, {"introduced": "0"}], False),
        ("1.0", [{"introduced": "0"}, {"fixed": "no version"}], True),  # not comparable: better said
    ],
)
def test_range_is_evaluated_as_the_schema_says(version: str, events: list[Any], expected: bool) -> None:
    package = Package("PyPI", "name", version, "name", version)
    affected = Affected.model_validate({"ranges": [{"type": "ECOSYSTEM", "events": events}]})
    assert (find_match(package, affected) is not None) is expected


def of_numpy(**affected: object) -> dict[str, Any]:
    return {
        "id": "CVE-1",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "numpy"}, **affected}],
    }


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({"id": "X", "affected": None}, 0),
        ({"id": "X", "aliases": None, "upstream": None, "modified": None}, 0),
        ({"id": "X", "affected": [{"package": None}]}, 0),
        (of_numpy(ranges=None, versions=None), 0),
        (of_numpy(versions=["2.4.6"], ranges=None), 1),
    ],
)
def test_key_that_is_null_counts_as_absent(
    contents: Contents, tmp_path: Path, document: dict[str, Any], count: int
) -> None:
    dump = write_dump(tmp_path / "all.zip", [{**JINJA, "affected": OTHER}, GLIBC_MENDED, document])
    assert len(find_vulnerabilities(contents, [dump]).vulnerabilities) == count


@pytest.mark.parametrize(
    "document",
    [
        {"id": 5},
        {"id": "X", "affected": ["numpy"]},
        {"id": "X", "aliases": "CVE-1"},
        of_numpy(ranges=[{"type": "ECOSYSTEM", "events": [{"introduced": 0}]}]),
    ],
)
def test_document_of_another_form_is_no_dump(
    contents: Contents, tmp_path: Path, document: dict[str, Any]
) -> None:
    with pytest.raises(GraftError, match="is no dump of OSV"):
        find_vulnerabilities(contents, [write_dump(tmp_path / "all.zip", [document])])


def test_dump_of_another_release_of_debian_is_no_proof(contents: Contents, tmp_path: Path) -> None:
    other = {**GLIBC, "affected": GLIBC["affected"][1:]}
    with pytest.raises(GraftError, match="tells nothing about packages of Debian:12"):
        find_vulnerabilities(contents, [write_dump(tmp_path / "all.zip", [JINJA, other])])


def test_image_that_does_not_say_its_release_is_refused(contents: Contents, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "all.zip", [JINJA, GLIBC])
    with pytest.raises(GraftError, match="no VERSION_ID"):
        find_vulnerabilities(replace(contents, release=""), [dump])


@pytest.mark.parametrize(
    ("affected", "fixed"),
    [
        (
            {
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}]},
                    {"type": "ECOSYSTEM", "events": [{"introduced": "1.9"}, {"fixed": "2.1"}]},
                ]
            },
            "2.1",
        ),
        ({"versions": ["2.0"]}, ""),
        ({"versions": ["1.0"]}, None),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"limit": "1.0"}]}]}, None),
        (
            {
                "ranges": [
                    {
                        "type": "ECOSYSTEM",
                        "events": [
                            {"fixed": "1.5"},
                            {"introduced": "0"},
                            {"introduced": "1.8"},
                            {"fixed": "3"},
                        ],
                    }
                ]
            },
            "3",
        ),
    ],
)
def test_version_that_mends_it_is_that_of_the_range_which_holds_the_installed(
    affected: dict[str, Any], fixed: str | None
) -> None:
    package = Package("PyPI", "numpy", "2.0.0", "numpy", "2.0.0")
    match = find_match(package, Affected.model_validate(affected))
    assert (match.fixed if match else None) == fixed
