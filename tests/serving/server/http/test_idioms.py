"""What HTTP clients of many languages send for the same picture or text, each in its own way.

All get the label that Python gets.
"""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import aiohttp
import httpx
import numpy as np
import pytest
import requests
from PIL import Image

from serving.model.predictor import Predictor, load_predictor
from tests.conftest import make_picture
from tests.serving.processes import Service, logged_service

pytestmark = pytest.mark.slow
PICTURE = make_picture("bars", 960)
TEXT = "so good \U0001f600 caf\xe9"
OCTETS = "Content-Type: application/octet-stream"


def noise() -> bytes:
    """A picture of more than 1 MiB, for which curl asks before it sends."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (640, 640, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


LARGE = noise()


@pytest.fixture(scope="module")
def pictures_service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with logged_service(tiny_run / "bundle", tmp_path_factory.mktemp("log") / "pictures") as service:
        yield service


@pytest.fixture(scope="module")
def texts_service(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with logged_service(text_run / "bundle", tmp_path_factory.mktemp("log") / "texts") as service:
        yield service


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    return load_predictor(tiny_run / "bundle")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with both pictures."""
    (tmp_path / "small.png").write_bytes(PICTURE)
    (tmp_path / "large.png").write_bytes(LARGE)
    return tmp_path


def lines(*texts: str) -> bytes:
    return "\r\n".join([*texts, "", ""]).encode("latin-1")


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def raw(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    """A request with its length."""
    return lines(f"POST {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}") + body


def form(boundary: str, *part: str, start: bytes = b"", end: bytes = b"\r\n") -> bytes:
    """A form of one part, the picture, with these headers."""
    return (
        start + f"--{boundary}\r\n".encode() + lines(*part) + PICTURE + f"\r\n--{boundary}--".encode() + end
    )


def typed(boundary: str, *, before: str = "") -> str:
    return f"Content-Type: multipart/form-data;{before} boundary={boundary}"


GO_HEADERS = ("Host: localhost:3000", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip")
GO_FORM = form("5a4d2f" * 10, 'Content-Disposition: form-data; name="image"; filename="cell.png"', OCTETS)
RUST_FORM = form(
    "9b1c-2e4f-77aa-01",
    'Content-Disposition: form-data; name="image"; filename="cell.png"',
    "Content-Type: image/png",
)
GUID = "7d0e1b6a-7f9e-4c0f-9d3b-3f1c5f4f7d11"
H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    "Upgrade: h2c",
)
UPLOAD = 'Content-Disposition: form-data; name="image"; filename="cell.png"'
NAMELESS = 'Content-Disposition: form-data; name="image"'
RAW: dict[str, bytes] = {
    "Java HttpClient, file": raw(
        PICTURE,
        H2C[0],
        "Host: localhost:3000",
        *H2C[1:],
        "User-Agent: Java-http-client/21.0.2",
        "Content-Type: image/png",
    ),
    "Apache HttpClient 5, file": raw(
        form("hWkrBTqnSRbNQdDL0wC", UPLOAD, OCTETS, "Content-Transfer-Encoding: binary"),
        "Accept-Encoding: gzip, x-gzip, deflate",
        typed("hWkrBTqnSRbNQdDL0wC", before=" charset=ISO-8859-1;"),
        "Host: localhost:3000",
        "Connection: keep-alive",
        "User-Agent: Apache-HttpClient/5.3.1 (Java/17.0.10)",
    ),
    "Apache HttpClient 5, bytes": raw(
        form("hWkrBTqnSRbNQdDL0wC", NAMELESS, OCTETS),
        typed("hWkrBTqnSRbNQdDL0wC; charset=UTF-8"),
        "Host: localhost:3000",
    ),
    "OkHttp, file": raw(
        form(GUID, UPLOAD, "Content-Type: image/png", f"Content-Length: {len(PICTURE)}"),
        typed(GUID),
        "Host: localhost:3000",
        "Connection: Keep-Alive",
        "Accept-Encoding: gzip",
        "User-Agent: okhttp/4.12.0",
    ),
    "OkHttp, bytes": raw(
        form(GUID, NAMELESS, f"Content-Length: {len(PICTURE)}"), typed(GUID), "Host: localhost:3000"
    ),
    "C# HttpClient, file": raw(
        form(
            GUID,
            "Content-Type: image/png",
            "Content-Disposition: form-data; name=image; filename=cell.png; filename*=utf-8''cell.png",
        ),
        "Host: localhost:3000",
        typed(f'"{GUID}"'),
    ),
    "C# HttpClient, bytes": raw(
        form(GUID, "Content-Disposition: form-data; name=image"), "Host: localhost:3000", typed(f'"{GUID}"')
    ),
    "Go net/http, file": raw(GO_FORM, *GO_HEADERS, typed("5a4d2f" * 10)),
    "Go net/http, a pipe": lines(
        "POST /predict HTTP/1.1", *GO_HEADERS, typed("5a4d2f" * 10), "Transfer-Encoding: chunked"
    )
    + chunked(GO_FORM, 32 * 1024),
    "undici of Node, bytes": raw(
        form(
            "----formdata-undici-054320217864",
            'Content-Disposition: form-data; name="image"; filename="blob"',
            OCTETS,
        ),
        "host: localhost:3000",
        "connection: keep-alive",
        typed("----formdata-undici-054320217864").lower(),
        "accept: */*",
        "accept-language: *",
        "sec-fetch-mode: cors",
        "user-agent: node",
        "accept-encoding: gzip, deflate",
    ),
    "axios, a stream": lines(
        "POST /predict HTTP/1.1",
        "Accept: application/json, text/plain, */*",
        typed("-" * 26 + "104834511738542389122417"),
        "User-Agent: axios/1.7.2",
        "Accept-Encoding: gzip, compress, deflate, br",
        "Host: localhost:3000",
        "Connection: keep-alive",
        "Transfer-Encoding: chunked",
    )
    + chunked(form("-" * 26 + "104834511738542389122417", UPLOAD, "Content-Type: image/png"), 1000),
    "curl of PHP, a file": raw(
        form("-" * 24 + "d74496d66958873e", UPLOAD, OCTETS),
        "Host: localhost:3000",
        "Accept: */*",
        typed("-" * 24 + "d74496d66958873e"),
    ),
    "Guzzle of PHP, bytes": raw(
        form("0f1e2d3c4b5a" * 3, NAMELESS, f"Content-Length: {len(PICTURE)}"),
        "User-Agent: GuzzleHttp/7",
        "Host: localhost:3000",
        typed("0f1e2d3c4b5a" * 3),
    ),
    "Net::HTTP of Ruby, file": raw(
        form("SnVzdCBhIGJvdW5kYXJ5_-w", UPLOAD, OCTETS),
        typed("SnVzdCBhIGJvdW5kYXJ5_-w"),
        "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
        "Accept: */*",
        "User-Agent: Ruby",
        "Host: localhost:3000",
    ),
    "Net::HTTP of Ruby, bytes": raw(
        form("SnVzdCBhIGJvdW5k", NAMELESS), typed("SnVzdCBhIGJvdW5k"), "Host: localhost:3000"
    ),
    "reqwest of Rust, a stream": lines(
        "POST /predict HTTP/1.1",
        typed("9b1c-2e4f-77aa-01").lower(),
        "accept: */*",
        "host: localhost:3000",
        "transfer-encoding: chunked",
    )
    + chunked(RUST_FORM, 8 * 1024),
    "reqwest of Rust, bytes": raw(
        form("9b1c-2e4f", NAMELESS), typed("9b1c-2e4f").lower(), "accept: */*", "host: localhost:3000"
    ),
    "PowerShell 7, -Form": raw(
        form(
            GUID,
            "Content-Disposition: form-data; name=image; filename=cell.png; filename*=utf-8''cell.png",
            OCTETS,
        ),
        "Host: localhost:3000",
        "User-Agent: Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.22631; en-US) PowerShell/7.4.2",
        typed(f'"{GUID}"'),
    ),
    "PowerShell 5, -InFile": raw(
        PICTURE,
        "User-Agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1",
        "Content-Type: application/x-www-form-urlencoded",
        "Host: localhost:3000",
        "Expect: 100-continue",
        "Connection: Keep-Alive",
    ),
    "URLSession of Swift": raw(
        form(f"Boundary-{GUID.upper()}", UPLOAD, "Content-Type: image/png"),
        "Host: localhost:3000",
        typed(f"Boundary-{GUID.upper()}"),
        "Connection: keep-alive",
        "Accept: */*",
        "User-Agent: App/1 CFNetwork/1494.0.7 Darwin/23.4.0",
        "Accept-Language: en-GB,en;q=0.9",
        "Accept-Encoding: gzip, deflate",
    ),
    "httr of R": raw(
        form("-" * 24 + "f4f4ea6db6f0f0b1", UPLOAD, "Content-Type: image/png"),
        "Host: localhost:3000",
        "User-Agent: libcurl/8.4.0 r-curl/5.2.1 httr/1.4.7",
        "Accept-Encoding: deflate, gzip",
        "Accept: application/json, text/xml, application/xml, */*",
        typed("-" * 24 + "f4f4ea6db6f0f0b1"),
        "Expect: 100-continue",
    ),
    "part headers in lower case": raw(
        form("x", NAMELESS.lower(), OCTETS.lower()), typed("x"), "Host: localhost"
    ),
    "part headers in upper case, without spaces": raw(
        form("x", "CONTENT-DISPOSITION:form-data;name=image;filename=a"), typed("x"), "Host: localhost"
    ),
    "an encoding of the part": raw(
        form("x", UPLOAD, "Content-Transfer-Encoding: 8bit"), typed("x"), "Host: localhost"
    ),
    "a line before, and an epilogue": raw(
        form("x", UPLOAD, start=b"\r\n", end=b"\r\nepilogue\r\n"), typed("x"), "Host: localhost"
    ),
    "no line at the end": raw(form("x", UPLOAD, end=b""), typed("x"), "Host: localhost"),
}


def ask(port: int, data: bytes) -> tuple[int, bytes]:
    """Send a request, its body only once it may be sent where it asks for that."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head, body = data.split(b"\r\n\r\n", 1)
        waits = b"100-continue" in head
        connection.sendall(head + b"\r\n\r\n" + (b"" if waits else body))
        if waits:
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def port_of(service: Service) -> int:
    return int(service.url.rsplit(":", 1)[1])


@pytest.mark.parametrize("name", RAW)
def test_predict_answers_the_bytes_that_a_client_writes(
    pictures_service: Service, predictor: Predictor, name: str
) -> None:
    status, body = ask(port_of(pictures_service), RAW[name])
    assert status == 200, body
    assert json.loads(body) == predictor.predict(PICTURE).to_json()


def with_curl(*options: str) -> Callable[[str, Path], str]:
    def run(url: str, files: Path) -> str:
        if not shutil.which("curl"):
            pytest.skip("curl is not installed")
        command = [
            "curl",
            "-sS",
            "--max-time",
            "30",
            *(option.replace("FILES", str(files)) for option in options),
            f"{url}/predict",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


NODE = """
const data = require("node:fs").readFileSync(process.argv[2]);
const form = new FormData();
form.append("image", new Blob([data], {type: "image/png"}), ...process.argv.slice(4));
fetch(process.argv[1] + "/predict", {method: "POST", body: process.argv[3] === "form" ? form : data})
  .then((answer) => answer.text()).then(console.log);
"""
JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.Path;
public class Ask { public static void main(String[] given) throws Exception {
  var asked = HttpRequest.newBuilder(URI.create(given[0] + "/predict")).header("Content-Type", "image/png")
    .POST(HttpRequest.BodyPublishers.ofFile(Path.of(given[1]))).build();
  System.out.println(HttpClient.newHttpClient().send(asked, HttpResponse.BodyHandlers.ofString()).body()); } }
"""


def with_node(*arguments: str) -> Callable[[str, Path], str]:
    def run(url: str, files: Path) -> str:
        found = (
            subprocess.run(["node", "-p", "typeof fetch"], capture_output=True, text=True, check=False)
            if shutil.which("node")
            else None
        )
        if found is None or found.stdout.strip() != "function":
            pytest.skip("no Node with fetch is installed")
        command = ["node", "-e", NODE, url, str(files / "small.png"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    return run


def with_java(url: str, files: Path) -> str:
    if not (shutil.which("java") and shutil.which("javac")):
        pytest.skip("no JDK is installed")
    (files / "Ask.java").write_text(JAVA)
    command = ["java", str(files / "Ask.java"), url, str(files / "small.png")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def with_aiohttp(url: str, files: Path) -> str:
    async def send() -> str:
        data = aiohttp.FormData({"image": (files / "small.png").read_bytes()})
        async with aiohttp.ClientSession() as session, session.post(f"{url}/predict", data=data) as answer:
            return await answer.text()

    return asyncio.run(send())


def send_pieces(data: bytes) -> Iterator[bytes]:
    yield from (data[start : start + 999] for start in range(0, len(data), 999))


REAL: dict[str, tuple[bytes, Callable[[str, Path], str]]] = {
    "requests, file": (
        PICTURE,
        lambda url, _: requests.post(f"{url}/predict", files={"image": ("a.png", PICTURE)}, timeout=30).text,
    ),
    "requests, bytes": (
        PICTURE,
        lambda url, _: requests.post(f"{url}/predict", files={"image": (None, PICTURE)}, timeout=30).text,
    ),
    "requests, raw": (PICTURE, lambda url, _: requests.post(f"{url}/predict", data=PICTURE, timeout=30).text),
    "requests, a generator": (
        PICTURE,
        lambda url, _: requests.post(f"{url}/predict", data=send_pieces(PICTURE), timeout=30).text,
    ),
    "httpx, file": (PICTURE, lambda url, _: httpx.post(f"{url}/predict", files={"image": PICTURE}).text),
    "httpx, bytes": (
        PICTURE,
        lambda url, _: httpx.post(f"{url}/predict", files={"image": (None, PICTURE)}).text,
    ),
    "httpx, 1.2 MB of bytes": (
        LARGE,
        lambda url, _: httpx.post(f"{url}/predict", files={"image": (None, LARGE)}).text,
    ),
    "aiohttp, bytes": (PICTURE, with_aiohttp),
    "curl -F @": (PICTURE, with_curl("-F", "image=@FILES/small.png")),
    "curl -F <": (PICTURE, with_curl("-F", "image=<FILES/small.png")),
    "curl --data-binary": (PICTURE, with_curl("--data-binary", "@FILES/small.png")),
    "curl -T": (
        PICTURE,
        with_curl("-X", "POST", "-T", "FILES/small.png", "-H", "Transfer-Encoding: chunked"),
    ),
    "curl -F @, with leave": (LARGE, with_curl("-F", "image=@FILES/large.png", "-H", "Expect: 100-continue")),
    "curl --data-binary, with leave": (LARGE, with_curl("--data-binary", "@FILES/large.png")),
    "curl over HTTP/2 if it can": (PICTURE, with_curl("--http2", "--data-binary", "@FILES/small.png")),
    "fetch of Node, form": (PICTURE, with_node("form")),
    "fetch of Node, named": (PICTURE, with_node("form", "cell.png")),
    "fetch of Node, raw": (PICTURE, with_node("raw")),
    "Java HttpClient": (PICTURE, with_java),
}


@pytest.mark.parametrize("name", REAL)
def test_predict_answers_a_client_that_is_installed(
    pictures_service: Service, predictor: Predictor, files: Path, name: str
) -> None:
    picture, ask_with = REAL[name]
    answer = ask_with(pictures_service.url, files)
    assert json.loads(answer) == predictor.predict(picture).to_json()


def test_predict_batch_keeps_the_order_when_some_parts_have_no_file_name(
    pictures_service: Service, predictor: Predictor
) -> None:
    contents = [PICTURE, LARGE, make_picture("plain", 961), PICTURE]
    parts = [("images", (None if index % 2 else "a.png", content)) for index, content in enumerate(contents)]
    answer = requests.post(f"{pictures_service.url}/predict_batch", files=parts, timeout=30)
    assert answer.json() == {"predictions": [predictor.predict(content).to_json() for content in contents]}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/a.png", "HTTPS://example.com/a?b=c\r\n", "http://169.254.169.254/latest"]
)
def test_predict_fetches_nothing_when_a_url_comes_in_place_of_a_picture(
    pictures_service: Service, url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        text = url.format(port=trap.getsockname()[1])
        parts = {"image": (None, text)}
        answers = [
            httpx.post(f"{pictures_service.url}/predict", files=parts),
            httpx.post(f"{pictures_service.url}/predict_batch", files={"images": (None, text)}),
            httpx.post(f"{pictures_service.url}/predict", data={"image": text}),
            httpx.post(f"{pictures_service.url}/predict", content=text),
        ]
        trap.settimeout(0.3)
        with suppress(TimeoutError):
            trap.accept()
            pytest.fail("the service has fetched the URL")
    error = {"code": "url_refused", "message": "A URL came. Send the picture itself; no URL is fetched."}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(400, {"error": error})] * 4


OBJECT = {"text": TEXT}
TEXT_IDIOMS: dict[str, tuple[bytes, str]] = {
    "charset in upper case": (
        json.dumps(OBJECT, ensure_ascii=False).encode(),
        "application/json; charset=UTF-8",
    ),
    "all in upper case": (json.dumps(OBJECT).encode(), 'APPLICATION/JSON;CHARSET="UTF-8"'),
    "no charset": (json.dumps(OBJECT, ensure_ascii=False).encode(), "application/json"),
    "indented": (json.dumps(OBJECT, indent=2).replace("\n", "\r\n").encode() + b"\r\n", "application/json"),
    "a byte order mark": (
        json.dumps(OBJECT, ensure_ascii=False).encode("utf-8-sig"),
        "application/json; charset=utf-8",
    ),
    "plain text": (TEXT.encode(), "text/plain; charset=UTF-8"),
    "plain text without charset": (TEXT.encode(), "text/plain"),
}


@pytest.mark.parametrize("name", TEXT_IDIOMS)
def test_predict_answers_a_text_as_clients_write_it(
    texts_service: Service, text_run: Path, name: str
) -> None:
    content, media_type = TEXT_IDIOMS[name]
    answer = httpx.post(f"{texts_service.url}/predict", content=content, headers={"content-type": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.json() == load_predictor(text_run / "bundle").predict(TEXT.encode()).to_json()


def test_predict_says_so_when_a_text_is_not_in_utf_8(texts_service: Service) -> None:
    body = json.dumps({"text": "caf\xe9"}, ensure_ascii=False).encode("latin-1")
    answer = httpx.post(
        f"{texts_service.url}/predict",
        content=body,
        headers={"content-type": "application/json; charset=ISO-8859-1"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_utf8")


@pytest.mark.parametrize(
    "fields", [("images[]", "images[]"), ("images[0]", "images[1]"), ("images", "images[]")]
)
def test_predict_batch_takes_lists_as_php_rails_and_axios_write_them(
    pictures_service: Service, predictor: Predictor, fields: tuple[str, str]
) -> None:
    answer = httpx.post(
        f"{pictures_service.url}/predict_batch", files=[(field, ("x.png", PICTURE)) for field in fields]
    )
    assert answer.json()["predictions"] == [predictor.predict(PICTURE).to_json()] * 2
