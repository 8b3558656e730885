"""What the site adds to the pages of docs/: three pages that stand elsewhere, decisions, links.

The README, the page about a run's folder and the changelog stay where people look for them in a repository.
The site shows the same files, with their links pointed at its own pages. A link to any other file of the
repository becomes plain text, because the site does not hold that file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"README.md": "index.md", "models/README.md": "run-folder.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"\[((?:!\[[^\]]*\]\([^)]*\)|[^\[\]])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add every decision to the navigation, in the order of their numbers."""
    pages = sorted(Path(config.docs_dir).glob("adr/0*.md"))
    assert config.nav is not None
    config.nav.append({"Decisions": ["adr/README.md", *(f"adr/{page.name}" for page in pages)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside of docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point the links of a page at the pages of the site."""
    here = page.file.src_uri
    source = {page: source for source, page in ELSEWHERE.items()}.get(here, f"docs/{here}")
    parts = FENCE.split(markdown)  # code stands at odd places, and is left as it is
    parts[::2] = (LINK.sub(lambda found: point_link(found, source, here), part) for part in parts[::2])
    return "".join(parts)


def point_link(found: re.Match[str], source: str, here: str) -> str:
    """A link as the site has it.

    Args:
        found: The link, with its text and its target.
        source: Path of the page's file in the repository.
        here: Path of the page in the site.

    Raises:
        PluginError: The repository has no such file, which ends the build.
    """
    target, _, anchor = found[2].partition("#")
    if not target or ":" in target:
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if not (ROOT / path).exists():
        raise PluginError(f"{source}: links to {target}, which is not there")
    there = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if there is None:
        return found[1]
    address = posixpath.relpath(there, posixpath.dirname(here) or ".")
    return f"[{found[1]}]({address}{'#' + anchor if anchor else ''})"
