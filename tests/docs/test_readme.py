"""The README is for a stranger with five minutes: short, and with pictures of what they get."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 150
LARGEST_PICTURE_BYTES = 120_000
PICTURES = sorted((ROOT / "docs" / "images").glob("*"))


def test_readme_is_read_in_five_minutes() -> None:
    assert README.count("\n") <= MOST_LINES


def test_readme_shows_the_report_and_the_page() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(docs/images/([^)]+)\)", README)
    assert {"report.png", "page.png"} <= set(shown)
    assert all((ROOT / "docs" / "images" / name).is_file() for name in shown)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small_and_shown_somewhere(picture) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= LARGEST_PICTURE_BYTES
    assert any(f"images/{picture.name})" in page.read_text(encoding="utf-8") for page in pages)
