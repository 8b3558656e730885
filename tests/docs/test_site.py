"""The site: every link and anchor leads somewhere, and no page asks another host for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import ROOT

OWN = re.compile(r"^(?!https?:|//)")


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs. With --quiet, mkdocs would count no warning, and --strict would let all pass."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )


class Loaded(HTMLParser):
    """Addresses that a browser fetches by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag in {"script", "img", "source", "iframe", "video", "audio", "embed", "object"}:
            self.addresses += [found[name] or "" for name in ("src", "srcset", "data") if name in found]
        if tag == "link" and found.get("rel") not in {"canonical", "prev", "next", "alternate"}:
            self.addresses.append(found.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_holds_every_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    expected = {page.replace("README.md", "index.md").removesuffix(".md") + ".html" for page in pages}
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert built == expected | {"index.html", "run-folder.html", "changelog.html", "404.html"}


def test_site_asks_no_other_host_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = Loaded()
        loaded.feed(text)
        assert loaded.addresses, page
        assert [address for address in loaded.addresses if not OWN.match(address)] == [], page
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", text), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )


def copy_sources(root: Path) -> Path:
    """A checkout whose pages a test may change; all else in it is a link to this one."""
    root.mkdir()
    for entry in ROOT.iterdir():
        if entry.name == "docs":
            shutil.copytree(entry, root / entry.name)
        elif entry.name in {"README.md", "mkdocs.yml"}:
            shutil.copy(entry, root / entry.name)
        elif not entry.name.startswith("."):
            (root / entry.name).symlink_to(entry)
    return root


def append(page: Path, line: str) -> None:
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")


def test_site_is_not_built_when_a_link_or_an_anchor_leads_nowhere(tmp_path: Path) -> None:
    root = copy_sources(tmp_path / "copy")
    assert build(root, tmp_path / "good").returncode == 0
    append(root / "docs" / "serving.md", "[words](recipe.md#no-such-key)")
    append(root / "README.md", "[words](docs/serving.md#no-such-heading)")
    done = build(root, tmp_path / "site")
    assert done.returncode != 0
    assert "#no-such-key" in done.stderr
    assert "#no-such-heading" in done.stderr


def test_site_is_not_built_when_a_link_leads_to_no_file_of_the_repository(tmp_path: Path) -> None:
    root = copy_sources(tmp_path / "copy")
    append(root / "README.md", "[words](serving/no_such_file.py)")
    done = build(root, tmp_path / "site")
    assert done.returncode != 0
    assert "README.md: links to serving/no_such_file.py, which is not there" in done.stderr
