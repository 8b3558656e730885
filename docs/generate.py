"""Rewrite what the pages have from the code: the recipe's tables, the commands' help, and two lists.

    python docs/generate.py

What is made stands between ``<!-- made: NAME -->`` and ``<!-- end: NAME -->``; everything else is written by
hand and stays.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import command_help
import recipe_tables

DOCS = Path(__file__).parent


def list_extras() -> dict[str, str]:
    """Every extra and what it is for, as a table."""
    from pipeline.machine.extras import EXTRAS

    rows = [f"| `{extra.name}` | {extra.purpose} |" for extra in EXTRAS]
    return {"extras": "\n".join(["| extra | what it is for |", "| --- | --- |", *rows])}


def list_decisions() -> dict[str, str]:
    """A link to every decision, by its title."""
    pages = sorted(DOCS.glob("adr/0*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for page in pages]
    links = [f"- [{title}]({page.name})" for title, page in zip(titles, pages, strict=True)]
    return {"decisions": "\n".join(links)}


PAGES = {
    "recipe.md": recipe_tables.parts,
    "commands.md": command_help.parts,
    "install.md": list_extras,
    "adr/README.md": list_decisions,
}


def main() -> int:
    """Rewrite each page that would change, name it, and return the exit code."""
    for name in PAGES:
        page = DOCS / name
        text = make_page(name)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            sys.stdout.write(f"rewrote docs/{name}\n")
    return 0


def make_page(name: str) -> str:
    """A page with its made parts as they should be."""
    text = (DOCS / name).read_text(encoding="utf-8")
    for part, content in PAGES[name]().items():
        text = replace_part(text, part, content)
    return text


def replace_part(text: str, part: str, content: str) -> str:
    """A page's text with other content in the one place of that name.

    Raises:
        ValueError: The page does not have exactly one such place.
    """
    pattern = rf"(<!-- made: {part} -->\n).*?(<!-- end: {part} -->)"
    changed, count = re.subn(
        pattern, lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{part}: {count} places between <!-- made --> and <!-- end -->; there must be one")
    return changed


if __name__ == "__main__":
    sys.exit(main())
