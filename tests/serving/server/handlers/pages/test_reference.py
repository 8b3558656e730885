"""The page that describes the API: readable without a script, and without a network."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from serving.server.handlers.pages.reference import REFERENCE_POLICY, render_reference
from tests.conftest import free_port, serving
from tests.serving.server.docs.test_docs import describe, make_manifest

HOSTILE = "</style><script>alert(1)</script>"


class Reader(HTMLParser):
    """The text of a page, and every address in it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.text, self.addresses, self.tags = "", [], set()
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("modality", ["image", "text"])
def test_reference_names_every_operation_with_its_summary(modality: str) -> None:
    document = describe(make_manifest(modality))
    text = re.sub(r"\s+", " ", Reader(render_reference(document)).text)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path} {operation['summary']}" in text
    assert document["info"]["summary"] in text


def test_reference_shows_how_to_send_an_input() -> None:
    pictures, texts = (
        Reader(render_reference(describe(make_manifest(modality)))).text for modality in ("image", "text")
    )
    assert "curl -F image=@FILE http://HOST/predict\n" in pictures
    assert "curl -F images=@FILE -F images=@FILE http://HOST/predict_batch" in pictures
    assert '"text": "What a day!"' in texts


def test_reference_keeps_hostile_names_as_text() -> None:
    manifest = make_manifest("image").model_copy(update={"labels": (HOSTILE, "b")})
    page = Reader(render_reference(describe(manifest)))
    assert "script" not in page.tags
    assert HOSTILE in page.text


def test_reference_has_no_script_and_no_address_but_its_own() -> None:
    page = Reader(render_reference(describe(make_manifest("image"))))
    assert "script" not in page.tags
    assert set(page.addresses) == {"docs.json", "./"}
    assert "default-src 'none'" in REFERENCE_POLICY
    assert "script-src" not in REFERENCE_POLICY
    assert "unsafe" not in REFERENCE_POLICY


@pytest.fixture(scope="module")
def url(tiny_run: Path) -> Iterator[str]:
    port = free_port()
    with serving(
        [sys.executable, "-m", "serving", str(tiny_run / "bundle"), "--port", str(port)], port
    ) as address:
        yield address


@pytest.mark.slow
def test_reference_opens_in_a_browser_under_its_policy(url: str, browser: Browser) -> None:
    page, complaints, asked = browser.new_page(java_script_enabled=False), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(f"{url}/docs")
    assert answer is not None
    assert answer.headers["content-security-policy"] == REFERENCE_POLICY
    expect(page.locator("h1")).to_have_text("tiny")
    assert page.locator("h1").evaluate("element => getComputedStyle(element).fontSize") == "26px", (
        "the style is not refused"
    )
    closed = page.locator("details#get_readyz")
    expect(closed.get_by_text("Answered.")).to_be_hidden()
    closed.locator("summary").click()
    expect(closed.get_by_text("Answered.")).to_be_visible()
    assert complaints == []
    assert {urlsplit(address).netloc for address in asked} == {urlsplit(url).netloc}
    page.close()


@pytest.mark.slow
def test_reference_is_answered_as_utf8_html(url: str) -> None:
    answer = httpx.get(f"{url}/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.head(f"{url}/docs").text == ""
