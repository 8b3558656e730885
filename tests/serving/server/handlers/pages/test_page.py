from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from serving.model.inputs.registry import find_kind
from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation
from serving.server.handlers.pages.page import PAGE_POLICY, render_page
from tests.conftest import free_port, make_picture, serving

MODEL = ModelInfo(name="solar-cells", version="3", artifact="int8-openvino")
HOSTILE = "</script><b id=hole>&amp;<!--<script>\u2028"
SHARES = {"plain": 0.0625, "bars": 0.9334, "spots": 0.00404, "other": 0.00006}
TIMINGS = "queue;dur=0.100, decode;dur=1.200, session;dur=7.000, total;dur=8.500"
PREFIX = "/behind/a/proxy/"
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
DROP = """(files) => {
  const moved = new DataTransfer();
  for (const [name, text] of files) moved.items.add(new File([Uint8Array.from(atob(text), \
(c) => c.charCodeAt(0))], name, {type: "image/png"}));
  document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: moved}));
}"""
PASTE = """(text) => {
  const moved = new DataTransfer();
  moved.items.add(new File([Uint8Array.from(atob(text), \
(c) => c.charCodeAt(0))], "image.png", {type: "image/png"}));
  document.body.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, clipboardData: moved}));
}"""


class Inline(HTMLParser):
    """The text of every inline script and style, and every attribute that names an address or runs code."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.forbidden: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.addresses += [named[name] for name in ("src", "href", "action") if name in named]
        self.forbidden += [name for name in named if name == "style" or name.startswith("on")]
        self._open = (named.get("id") or tag) if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.parts[self._open] = self.parts.get(self._open, "") + data


def read_page(page: bytes) -> Inline:
    parser = Inline()
    parser.feed(page.decode())
    return parser


def test_render_page_keeps_hostile_names_as_data() -> None:
    model = ModelInfo(name=HOSTILE, version="$version", artifact="@FACTS@")
    page = render_page(model, find_kind("image"), [HOSTILE, "b"])
    assert b"</script><b" not in page
    assert read_page(page).parts.keys() == {"style", "facts", "script"}
    facts = json.loads(read_page(page).parts["facts"])
    assert facts["model"] == model.to_json()
    assert (facts["labels"], facts["label_count"]) == ([HOSTILE, "b"], 2)


def test_render_page_holds_the_first_labels_and_the_number_of_all() -> None:
    facts = json.loads(
        read_page(render_page(MODEL, find_kind("text"), [f"l{index}" for index in range(1000)])).parts[
            "facts"
        ]
    )
    assert (facts["labels"], facts["label_count"]) == ([f"l{index}" for index in range(20)], 1000)


@pytest.mark.parametrize("part", ["script", "style"])
def test_the_policy_allows_the_inline_parts_by_their_hashes(part: str) -> None:
    text = read_page(render_page(MODEL, find_kind("image"), ["a"])).parts[part]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    directives = dict(directive.split(" ", 1) for directive in PAGE_POLICY.split("; "))
    assert directives[f"{part}-src"] == f"'sha256-{digest}'"
    assert directives["default-src"] == "'none'"
    assert "unsafe" not in PAGE_POLICY


def test_the_page_names_no_address_but_its_own() -> None:
    found = read_page(render_page(MODEL, find_kind("image"), ["a"]))
    assert {address for address in found.addresses if not address.startswith("data:")} == {"docs", "metrics"}
    assert found.forbidden == []


@dataclass
class Answer:
    """What the stub answers to one request."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None


@dataclass
class Stub:
    """A server of the page whose ``predict`` gives prepared answers in turn, the last one again and again."""

    page: bytes
    answers: list[Answer]
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def answer(self, headers: dict[str, str], body: bytes) -> Answer:
        self.received.append((headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.gate:
            answer.gate.wait(10)
        return answer


def make_handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": PAGE_POLICY}
            self._send(Answer(stub.page, headers=headers) if self.path == PREFIX else Answer(b"", 404))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(
                stub.answer(dict(self.headers), body) if self.path == f"{PREFIX}predict" else Answer(b"", 404)
            )

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *arguments: object) -> None:
            """Nothing: the test's output is no place for it."""

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., Stub]]:
    """Start a stub with a page and its answers."""
    servers = []

    def start(*answers: Answer, modality: str = "image", labels: Sequence[str] = tuple(SHARES)) -> Stub:
        port = free_port()
        stub = Stub(
            render_page(MODEL, find_kind(modality), labels),
            list(answers),
            url=f"http://127.0.0.1:{port}{PREFIX}",
        )
        servers.append(ThreadingHTTPServer(("127.0.0.1", port), make_handler(stub)))
        threading.Thread(
            target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return stub

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address.

    At the test's end no page may have complained, broken the policy, or asked another host for anything.
    """
    opened: list[tuple[str, Page]] = []
    complaints: list[str] = []
    asked: list[str] = []

    def note(text: str) -> None:
        if not text.startswith(
            "Failed to load resource"
        ):  # how Chromium tells of an answer such as 503, which tests provoke
            complaints.append(text)

    def open_page(url: str, **options: Any) -> Page:
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(5000)
        page.on(
            "console", lambda message: note(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        opened.append((url, page))
        return page

    yield open_page
    for _, page in opened:
        page.context.close()
    assert complaints == []
    own = {urlsplit(url).netloc for url, _ in opened}
    assert {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("blob", "data")} <= own


def prediction(shares: dict[str, float] = SHARES, **changes: Any) -> Answer:
    label = max(shares, key=shares.__getitem__)
    body = Prediction(label=label, probability=shares[label], probabilities=shares, model=MODEL, **changes)
    return Answer(body.to_bytes(), headers={"Content-Type": "application/json", "Server-Timing": TIMINGS})


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return Answer(body.to_bytes(), status, {"Content-Type": "application/json"} | headers)


def drop(page: Page, *names: str, content: bytes | None = None) -> bytes:
    content = content or make_picture("bars", 1)
    page.evaluate(DROP, [[name, base64.b64encode(content).decode()] for name in names])
    return content


def bars(page: Page) -> list[str]:
    expect(page.locator("#result")).to_be_visible()
    return [" ".join(row.split("\n")) for row in page.locator("#bars li").all_inner_texts()]


RANKED = ["bars 93.3%", "plain 6.3%", "spots 0.4%", "other < 0.1%"]


@pytest.mark.slow
def test_a_dropped_picture_is_sent_and_its_labels_are_ranked(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    stub = serve(prediction())
    page = visit(stub.url)
    expect(page.locator("#chips li")).to_have_text(list(SHARES))
    sent = drop(page, "cell.png")
    assert bars(page) == RANKED
    headers, body = stub.received[0]
    assert (body, headers["Content-Type"], "Authorization" in headers) == (sent, "image/png", False)
    assert page.locator("#bars li.top").all_inner_texts() == [page.locator("#bars li").first.inner_text()]
    assert page.locator(".answer").inner_text().split() == ["bars", "93.3%"]
    widths = page.locator("#bars .fill").evaluate_all(
        "all => all.map((fill) => parseFloat(fill.style.width))"
    )
    assert widths == pytest.approx(sorted((100 * share for share in SHARES.values()), reverse=True))
    assert page.locator("#preview").evaluate("image => image.decode().then(() => image.naturalWidth)") == 72
    assert page.locator("#status").inner_text() == "bars, 93.3%"


@pytest.mark.slow
def test_the_latency_is_shown_as_the_browser_and_as_the_server_saw_it(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    page = visit(serve(prediction()).url)
    drop(page, "cell.png")
    bars(page)
    expect(page.locator("#server")).to_have_text("8.5 ms")
    expect(page.locator("#stages")).to_have_text(
        "In the server: waiting 0.1 ms · reading the input 1.2 ms · model 7.0 ms"
    )
    expect(page.locator("#round-trip")).to_have_text(re.compile(r"^\d+(\.\d)?\sms$"))


@pytest.mark.slow
def test_a_picture_can_be_chosen_and_pasted(
    serve: Callable[..., Stub], visit: Callable[..., Page], tmp_path: Path
) -> None:
    stub = serve(prediction())
    page = visit(stub.url)
    (tmp_path / "chosen.png").write_bytes(make_picture("plain", 2))
    with page.expect_response("**/predict"):
        page.get_by_label("Choose a picture").set_input_files(tmp_path / "chosen.png")
    expect(page.locator("#caption")).to_contain_text("chosen.png")
    with page.expect_response("**/predict"):
        page.evaluate(PASTE, base64.b64encode(make_picture("bars", 3)).decode())
    assert bars(page) == RANKED
    assert [body for _, body in stub.received] == [make_picture("plain", 2), make_picture("bars", 3)]


@pytest.mark.slow
def test_of_several_pictures_the_first_is_used(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    stub = serve(prediction())
    page = visit(stub.url)
    drop(page, "a.png", "b.png", "c.png")
    assert bars(page) == RANKED
    expect(page.locator("#note")).to_have_text("3 files were given. The first, a.png, was used.")
    assert len(stub.received) == 1
    drop(page, "d.png")
    expect(page.locator("#note")).to_be_hidden()


@pytest.mark.slow
def test_a_file_that_is_no_picture_or_too_large_is_met_kindly(
    serve: Callable[..., Stub], visit: Callable[..., Page], tmp_path: Path
) -> None:
    stub = serve(refusal(400, "not_an_image", "The bytes are no picture in a known format."))
    page = visit(stub.url)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    page.get_by_label("Choose a picture").set_input_files(tmp_path / "large.png")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"This picture is too large\s*large.png has 64 MB; at most 64 MB can be sent")
    )
    assert stub.received == []
    drop(page, "words.png", content=b"words")
    expect(page.get_by_role("alert")).to_contain_text("This picture was not accepted")
    expect(page.get_by_role("alert")).to_contain_text("The bytes are no picture in a known format.")
    expect(page.locator("#caption")).to_contain_text("this browser cannot show it")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


@pytest.mark.slow
def test_a_busy_and_an_unreachable_service_can_be_tried_again(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    stub = serve(
        refusal(503, "busy", "Every place in the queue is taken.", **{"Retry-After": "2"}),
        Answer(b"<h1>Bad gateway</h1>", 502),
        prediction(),
    )
    page = visit(stub.url)
    alert, again = page.get_by_role("alert"), page.get_by_role("button", name="Try again")
    drop(page, "cell.png")
    expect(alert).to_contain_text("The service cannot answer now")
    expect(alert).to_contain_text("Every place in the queue is taken. Try again in 2 seconds.")
    again.click()
    expect(alert).to_contain_text("The answer has the status 502 and no explanation.")
    page.context.set_offline(True)
    again.click()
    expect(alert).to_contain_text("The service cannot be reached")
    page.context.set_offline(False)
    again.click()
    assert bars(page) == RANKED
    expect(alert).to_be_hidden()


@pytest.mark.slow
def test_a_key_is_asked_for_kept_and_asked_for_again_when_it_is_refused(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    refused = refusal(401, "unauthorized", "Send Authorization: Bearer with an API key.")
    stub = serve(refused, refused, prediction())
    page = visit(stub.url)
    key = page.get_by_label("API key")
    expect(key).to_be_hidden()
    sent = drop(page, "cell.png")
    expect(key).to_be_focused()
    expect(page.locator("#locked-message")).to_have_text("Send Authorization: Bearer with an API key.")
    key.fill("wrong-key")
    key.press("Enter")
    expect(page.locator("#locked")).to_contain_text(
        "It did not accept the one that was sent. Send Authorization: Bearer with an API key."
    )
    expect(key).to_have_value("")
    key.fill("ключ")
    key.press("Enter")
    expect(page.locator("#locked")).to_contain_text("This has characters that no key has.")
    key.fill("right-key")
    page.get_by_role("button", name="Use this key").click()
    assert bars(page) == RANKED
    expect(key).to_be_hidden()
    page.reload()
    drop(page, "cell.png")
    assert bars(page) == RANKED
    assert [headers.get("Authorization") for headers, _ in stub.received] == [
        None,
        "Bearer wrong-key",
        "Bearer right-key",
        "Bearer right-key",
    ]
    assert {body for _, body in stub.received} == {sent}
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


@pytest.mark.slow
def test_a_text_is_sent_once_by_its_shortcut_and_a_cut_is_told(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    gate = threading.Event()
    cut = prediction(truncation=Truncation(tokens=1340, used=256))
    cut.gate = gate
    stub = serve(cut, prediction(), modality="text")
    page = visit(stub.url)
    words, button = page.get_by_label("Text", exact=True), page.get_by_role("button", name="Predict")
    words.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("There is no text yet")
    words.fill("Ça va “bien”?\n😀")
    words.press("Control+Enter")
    expect(page.locator("#waiting")).to_be_visible()
    expect(button).to_be_disabled()
    words.press("Control+Enter")
    gate.set()
    assert bars(page) == RANKED
    expect(page.locator("#truncation")).to_have_text(
        "The text is longer than the model reads: the first 256 of 1,340 tokens were used."
    )
    with page.expect_response("**/predict"):
        button.click()
    expect(page.locator("#truncation")).to_be_hidden()
    expect(page.locator("#waiting")).to_be_hidden()
    assert [json.loads(body) for _, body in stub.received] == [{"text": "Ça va “bien”?\n😀"}] * 2
    assert stub.received[0][0]["Content-Type"] == "application/json"


@pytest.mark.slow
def test_a_newer_picture_takes_the_place_of_one_that_is_waited_for(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    late = prediction({"plain": 1.0})
    late.gate = threading.Event()
    page = visit(serve(late, prediction()).url)
    drop(page, "old.png")
    expect(page.locator("#waiting")).to_be_visible()
    drop(page, "new.png")
    assert bars(page) == RANKED
    late.gate.set()
    page.wait_for_timeout(100)
    assert bars(page) == RANKED


@pytest.mark.slow
def test_of_many_labels_twenty_are_shown_and_names_stay_text(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    shares = {HOSTILE: 0.5} | {f"label {index}": 0.5 / 57 for index in range(57)}
    page = visit(serve(prediction(shares), labels=list(shares)).url)
    assert page.locator("#chips li").count() == 21
    expect(page.locator("#chips .more")).to_have_text("and 38 more")
    drop(page, "cell.png")
    assert len(bars(page)) == 20
    expect(page.locator("#rest")).to_have_text("and 38 more labels, together 33.3%")
    assert page.locator("#label").text_content() == HOSTILE
    assert page.locator("#hole").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 320, "height": 640}}], ids=["phone", "narrow"]
)
def test_the_page_never_scrolls_sideways(
    serve: Callable[..., Stub], visit: Callable[..., Page], modality: str, options: dict[str, Any]
) -> None:
    shares = {
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft": 0.7,
        "x" * 200: 0.3,
    }
    page = visit(serve(prediction(shares), modality=modality, labels=list(shares)).url, **options)
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(overflow) <= 0
    if modality == "image":
        drop(page, "a-very-long-file-name-without-any-space-" * 4 + ".png")
    else:
        page.get_by_label("Text", exact=True).fill("words")
        page.get_by_role("button", name="Predict").click()
    bars(page)
    assert page.evaluate(overflow) <= 0
    assert page.locator("#camera + label").is_visible() == (modality == "image" and "is_mobile" in options)


@pytest.mark.slow
def test_the_policy_stops_what_the_page_does_not_need(serve: Callable[..., Stub], browser: Browser) -> None:
    page = browser.new_page()
    page.goto(serve(prediction()).url)
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'stopped')") == "stopped"
    page.evaluate(
        "document.body.append("
        "Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
    )
    assert page.evaluate("window.ran") is None
    page.context.close()


@pytest.mark.slow
def test_everything_can_be_reached_with_the_keyboard(
    serve: Callable[..., Stub], visit: Callable[..., Page]
) -> None:
    page = visit(serve(prediction()).url)
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent"
            )
        )
    assert reached == ["Choose a picture", "API description", "Metrics"]


@pytest.mark.slow
def test_the_page_of_a_real_service_shows_what_the_service_answers(
    tiny_run: Path, visit: Callable[..., Page]
) -> None:
    port = free_port()
    with serving(
        [sys.executable, "-m", "serving", str(tiny_run / "bundle"), "--port", str(port)], port
    ) as url:
        answer = Prediction.model_validate(
            httpx.post(f"{url}/predict", content=make_picture("bars", 1)).json()
        )
        page = visit(f"{url}/")
        drop(page, "cell.png")
        assert bars(page)[0].split()[0] == page.locator(".answer").inner_text().split()[0] == answer.label
        expect(page.locator("#stages")).to_have_text(
            re.compile(r"^In the server: waiting\s[\d.]+\sms.*model\s[\d.]+\sms$")
        )
        page.locator("input[type=file]").first.set_input_files(
            [{"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"}]
        )
        expect(page.get_by_text("Not a readable picture")).to_be_visible()
