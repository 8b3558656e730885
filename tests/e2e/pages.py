"""The documentation's pages, and the fenced blocks in them that a reader would copy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.leftovers import ROOT

PAGES = (ROOT / "README.md", ROOT / "models" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NEEDS = re.compile(r"^<!-- needs: (?P<names>.+?) -->$", re.MULTILINE)
# Lines that are not carried out: they install, or are this suite, or take minutes.
SKIPPED = re.compile(
    r"^(pip install|git clone|cd graft\b|\. \.venv/bin/activate|source \.venv/bin/activate|docker|kubectl|"
    r"make (test|test-quick|benchmark|docs)\b)"
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file that holds it.
        line: The number of the line that opens it, from 1.
        language: The word after the fence.
        text: What is between the fences.
        reason: Why it is not run, if the page says so.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None = None

    @property
    def name(self) -> str:
        """Page and line, as editors open them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a script or a console, continued lines joined, for bash."""
        joined = self.text.replace("\\\n", "")
        if self.language == "console":
            return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        return joined.splitlines() if self.language in {"sh", "bash"} else []

    @property
    def quoted_from(self) -> str | None:
        """The name of the file that a block of Python is a part of, if its first line is one."""
        found = re.match(r"# (\w+\.py)\n", self.text) if self.language == "python" else None
        return found[1] if found else None

    @property
    def shown(self) -> list[str]:
        """The lines of output that a console shows."""
        joined = self.text.replace("\\\n", "").splitlines()
        return [line for line in joined if line and not line.startswith("$ ")]


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    content = page.read_text()
    return [
        Block(
            page=page,
            line=content.count("\n", 0, found.start("language")) + 1,
            language=found["language"],
            text=found["text"],
            reason=found["reason"],
        )
        for found in FENCE.finditer(content)
    ]


def needs_of(page: Path) -> list[str]:
    """The runs that a page takes for granted."""
    return [name for found in NEEDS.finditer(page.read_text()) for name in found["names"].split(", ")]


def looks_like(shown: str) -> re.Pattern[str]:
    """What a shown line of output stands for: words with digits are any words, and ``...`` is anything."""
    words = re.split(r"(\s+|\.\.\.)", shown.strip())
    return re.compile("".join(_pattern(word) for word in words))


def _pattern(word: str) -> str:
    if word == "..." or word.isspace():
        return r".*" if word == "..." else r"\s+"
    return r"\S+" if re.search(r"\d", word) else re.escape(word)
