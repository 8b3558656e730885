from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Collects what a browser would fetch, and the text that it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tiny_run: Path) -> Page:
    return Page((tiny_run / "evaluate" / "report.html").read_text())


def test_report_holds_every_picture_itself(page: Page) -> None:
    assert len(page.fetched) >= 4
    assert all(re.match(r"data:image/(png|jpeg);base64,", source) for source in page.fetched)


def test_report_shows_the_metrics_of_the_run(page: Page, tiny_run: Path) -> None:
    metrics = json.loads((tiny_run / "evaluate" / "metrics.json").read_text())
    for name in ("accuracy", "macro_f1", "auroc", "ece"):
        assert f"{metrics[name]:.3f}" in page.text
    assert f"{metrics['samples']} held-out samples" in page.text
    assert "0 unreadable, 0 repeated, 0 under different labels (0 contents)" in page.text
    wrong = sum(
        n for i, row in enumerate(metrics["confusion_matrix"]["counts"]) for j, n in enumerate(row) if i != j
    )
    assert page.text.count("%, is ") == min(wrong, 24)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_report_renders_in_a_browser_without_a_network(tiny_run: Path, tmp_path: Path) -> None:
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
    ]
    shot = tmp_path / "page.png"
    page = (tiny_run / "evaluate" / "report.html").as_uri()
    command = [
        CHROMIUM,
        *flags,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1100,1800",
        f"--screenshot={shot}",
        page,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500, (
        "plots have many colours; an empty page has few"
    )
