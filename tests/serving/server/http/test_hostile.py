"""What hostile and broken clients send.

Each is answered by a 4xx in the one shape of errors, and the next request by 200.
"""

from __future__ import annotations

import gzip
import io
import json
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.modalities.image.examples import decode_examples
from serving.model.predictor import load_predictor
from tests.conftest import free_port, make_picture, serving

pytestmark = pytest.mark.slow
MOST_BODY_BYTES = 4 * 1024 * 1024
SETTINGS = {"GRAFT_BODY_TIMEOUT_S": "1", "GRAFT_MAX_BODY_BYTES": str(MOST_BODY_BYTES)}
HEADERS_MUST_COME_WITHIN_S = 20
JSON = "content-type: application/json"
PICTURE = make_picture("bars", 940)


@dataclass
class Service:
    """A running one."""

    port: int
    worker: psutil.Process
    good: bytes

    def is_well(self) -> bool:
        return ask(self.port, self.good)[0] == 200 and self.worker.pid == find_worker(self.port).pid


def find_worker(port: int) -> psutil.Process:
    """The one process that answers, below the one that holds the port, which this process started."""
    (parent,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    (worker,) = [child for child in parent.children() if "--multiprocessing-fork" in child.cmdline()]
    return worker


@contextmanager
def served(run: Path, log: Path, good: bytes) -> Iterator[Service]:
    port = free_port()
    command = [
        "sh",
        "-c",
        'exec "$@" > "$0" 2>&1',
        str(log),
        sys.executable,
        "-m",
        "pipeline.cli",
        "serve",
        str(run),
        "--port",
        str(port),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        with serving(command, port):
            yield Service(port, find_worker(port), good)


def request(start: str, *headers: str, body: bytes = b"") -> bytes:
    """The bytes of a request with its length."""
    return (
        "\r\n".join(
            [f"{start} HTTP/1.1", "host: localhost", *headers, f"content-length: {len(body)}", "", ""]
        ).encode("latin-1")
        + body
    )


def post(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    return request(f"POST {path}", *headers, body=body)


def headed(*headers: str, body: bytes = b"") -> bytes:
    """A POST with these headers only."""
    return "\r\n".join(["POST /predict HTTP/1.1", "host: localhost", *headers, "", ""]).encode() + body


def form(*parts: bytes, boundary: bytes = b"x", path: str = "/predict") -> bytes:
    body = (
        b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    )
    return post(body, "content-type: multipart/form-data; boundary=x", path=path)


def part(name: str, content: bytes = PICTURE) -> bytes:
    return f'content-disposition: form-data; name="{name}"; filename="x"\r\n\r\n'.encode() + content


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """The first answer to these bytes: its status, headers and body."""
    with connect(port) as connection:
        with suppress(
            ConnectionError
        ):  # the answer may come, and the connection end, before all of it is sent
            connection.sendall(data)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def read_to_end(connection: socket.socket) -> bytes:
    parts = []
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            parts.append(data)
    return b"".join(parts)


def code_of(body: bytes, *, protocol: bool = False) -> str:
    """The code of a refusal, whose shape is checked."""
    document = json.loads(body)
    if protocol:
        assert set(document) == {"error", "code"}
        assert isinstance(document["error"], str)
        return document["code"]
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message"}
    return document["error"]["code"]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


IMAGE = Image.open(io.BytesIO(PICTURE)).convert("RGB")
KINDS = {kind: encode(IMAGE, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")}


@pytest.fixture(scope="module")
def pictures_service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tiny_run, tmp_path_factory.mktemp("log") / "pictures", post(PICTURE)) as service:
        yield service


@pytest.fixture(scope="module")
def texts_service(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(
        text_run, tmp_path_factory.mktemp("log") / "texts", post(b'{"text": "so good"}', JSON)
    ) as service:
        yield service


@pytest.fixture(scope="module")
def bytes_before(pictures_service: Service, texts_service: Service) -> dict[int, int]:
    """The memory of each service once it has been asked all of it three times.

    What grows from then on is lost.
    """
    bodies = [b"x" * MOST_BODY_BYTES, *KINDS.values(), *(make() for make, *_ in BAD_PICTURES.values())]
    requests = [
        *map(post, bodies),
        *(data for data, _, code in BAD_REQUESTS.values() if code != "body_timeout"),
    ]
    for _ in range(3):
        for data in requests:
            ask(pictures_service.port, data)
        for data, *_ in BAD_TEXTS.values():
            ask(texts_service.port, data)
    return {service.port: service.worker.memory_info().rss for service in (pictures_service, texts_service)}


@pytest.fixture(autouse=True)
def _goes_on(
    pictures_service: Service, texts_service: Service, bytes_before: dict[int, int]
) -> Iterator[None]:
    """After each test both services answer, and by the same process."""
    yield
    assert pictures_service.is_well()
    assert texts_service.is_well()


@pytest.fixture(scope="module", autouse=True)
def dripping(pictures_service: Service) -> Iterator[tuple[socket.socket, float]]:
    """A connection whose headers began but do not end, from the first test on."""
    with connect(pictures_service.port) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nhost: localhost\r\nx: ")
        yield connection, time.monotonic()


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds a thousand bytes."""

    def chunk(content: bytes) -> bytes:
        return struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))

    size = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR" + size)
        + chunk(b"IDAT" + zlib.compress(b"\0" * 1000))
        + chunk(b"IEND")
    )


def webp_of(width: int, height: int) -> bytes:
    """A WebP animation on so large a canvas, with one frame of 8 x 8."""
    frame = (
        b"\0" * 6 + (7).to_bytes(3, "little") * 2 + b"\0" * 4 + encode(Image.new("RGB", (8, 8)), "WEBP")[12:]
    )
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = [(b"VP8X", canvas), (b"ANIM", b"\0" * 6), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(name + struct.pack("<L", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG of 49 megapixels whose last scan is there so many times more, in 75 bytes each."""
    data = encode(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


BAD_PICTURES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "no bytes": (lambda: b"", 400, "empty_input"),
    **{
        f"truncated {kind}": (lambda data=data: data[: len(data) // 2], 400, "not_an_image")
        for kind, data in KINDS.items()
        if kind != "BMP"
    },
    **{
        f"corrupt {kind}": (
            lambda data=data: data[:24] + bytes(byte ^ 0x55 for byte in data[24:]),
            400,
            "not_an_image",
        )
        for kind, data in KINDS.items()
        if kind in {"PNG", "JPEG", "WEBP"}
    },
    "only a signature": (lambda: b"\x89PNG\r\n\x1a\n", 400, "not_an_image"),
    "PNG of 3.6 gigapixels": (lambda: png_of(60_000, 60_000), 413, "too_many_pixels"),
    "PNG just past the limit": (lambda: png_of(50_001, 1_000), 413, "too_many_pixels"),
    "WebP of 3.6 gigapixels": (lambda: webp_of(60_000, 60_000), 413, "too_many_pixels"),
    "GIF of 3.6 gigapixels": (
        lambda: b"GIF89a\x60\xea\x60\xea\0\0\0,\0\0\0\0\x60\xea\x60\xea\0\x02\x01\0\0;",
        413,
        "too_many_pixels",
    ),
    "JPEG of 10,000 scans": (lambda: jpeg_of_scans(10_000), 400, "not_an_image"),
    "JPEG of nothing but markers": (lambda: b"\xff\xd8" + b"\xff\xe1\0\x02" * 1_000_000, 400, "not_an_image"),
    "JPEG of nothing but padding": (lambda: b"\xff\xd8" + b"\xff" * 4_000_000, 400, "not_an_image"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "not_an_image"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "not_an_image"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_predict_refuses_at_once_when_the_picture_is_bad(pictures_service: Service, name: str) -> None:
    make, expected, code = BAD_PICTURES[name]
    data, start = make(), time.monotonic()
    status, _, body = ask(pictures_service.port, post(data))
    assert (status, code_of(body)) == (expected, code)
    assert time.monotonic() - start < 5


def with_orientation(kind: str) -> bytes:
    """The picture, turned by 90 degrees, and with the EXIF tag that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(
        IMAGE.transpose(Image.Transpose.ROTATE_90),
        kind,
        exif=exif,
        **({"lossless": True} if kind == "WEBP" else {}),
    )


def transparent_palette() -> bytes:
    image = IMAGE.convert("P", palette=Image.Palette.ADAPTIVE)
    return encode(image, transparency=bytes(range(256)))


UNUSUAL_PICTURES: dict[str, Callable[[], bytes]] = {
    "GIF of 200 frames": lambda: encode(
        IMAGE,
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", IMAGE.size, (i, 0, 0)) for i in range(199)],
    ),
    "TIFF of 200 frames": lambda: encode(
        IMAGE, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 199
    ),
    "turned JPEG": lambda: with_orientation("JPEG"),
    "turned PNG": lambda: with_orientation("PNG"),
    "turned WebP": lambda: with_orientation("WEBP"),
    "CMYK JPEG": lambda: encode(IMAGE.convert("CMYK"), "JPEG"),
    "grey of 16 bits": lambda: encode(
        Image.fromarray(np.asarray(IMAGE.convert("L")).astype(np.uint16) * 257)
    ),
    "transparent palette": transparent_palette,
    "one pixel": lambda: encode(Image.new("RGB", (1, 1))),
}


@dataclass(frozen=True)
class Bytes:
    """A sample, as training reads them."""

    data: bytes

    def read(self) -> bytes:
        return self.data


@pytest.mark.parametrize("name", UNUSUAL_PICTURES)
def test_predict_answers_as_training_reads_when_the_picture_is_unusual(
    pictures_service: Service, tiny_run: Path, tmp_path: Path, name: str
) -> None:
    picture = UNUSUAL_PICTURES[name]()
    predictor = load_predictor(tiny_run / "bundle")
    trained_on = decode_examples([Bytes(picture)], predictor.preprocessor, tmp_path / "scratch").pixels
    expected = predictor.describe(predictor.score(list(trained_on))[0])
    status, _, body = ask(pictures_service.port, post(picture))
    assert status == 200
    assert json.loads(body) == expected.to_json()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_predict_answers_like_the_upright_picture_when_exif_turns_it(
    pictures_service: Service, kind: str
) -> None:
    upright, turned = (ask(pictures_service.port, post(data)) for data in (PICTURE, with_orientation(kind)))
    assert json.loads(turned[2]) == json.loads(upright[2])


MULTIPART = "content-type: multipart/form-data"
BOMB = gzip.compress(b"\0" * 200_000_000, 9)
BAD_REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "pickle": (post(PICTURE, "content-type: application/vnd.bentoml+pickle"), 415, "pickle_refused"),
    "brotli": (post(PICTURE, "content-encoding: br"), 415, "wrong_encoding"),
    "gzip twice": (post(PICTURE, "content-encoding: gzip", "content-encoding: gzip"), 415, "wrong_encoding"),
    "gzip that is none": (post(zlib.compress(PICTURE), "content-encoding: gzip"), 400, "broken_encoding"),
    "gzip that ends too early": (
        post(gzip.compress(PICTURE)[:-1], "content-encoding: gzip"),
        400,
        "broken_encoding",
    ),
    "gzip with more behind it": (
        post(gzip.compress(PICTURE) + b"\0", "content-encoding: gzip"),
        400,
        "broken_encoding",
    ),
    "gzip of nothing": (post(gzip.compress(b""), "content-encoding: gzip"), 400, "empty_input"),
    "gzip without a byte": (post(b"", "content-encoding: gzip"), 400, "empty_input"),
    "gzip of 200 MB": (post(BOMB, "content-encoding: gzip"), 413, "body_too_large"),
    "gzip of 200 MB for a probe": (post(BOMB, "content-encoding: gzip", path="/livez"), 405, "wrong_method"),
    "batch that is no form": (post(PICTURE, path="/predict_batch"), 415, "not_multipart"),
    "form without boundary": (post(b"x", MULTIPART), 400, "broken_form"),
    "form of another boundary": (
        post(b"--y\r\n\r\n\r\n--y--", f"{MULTIPART}; boundary=x"),
        400,
        "broken_form",
    ),
    "form with a boundary of 8-bit characters": (
        post(b"x", f"{MULTIPART}; boundary=\xff\xfe"),
        400,
        "broken_form",
    ),
    "form that ends in a header": (
        post(b"--x\r\ncontent-disp", f"{MULTIPART}; boundary=x"),
        400,
        "missing_field",
    ),
    "form that ends in a file": (
        post(b"--x\r\n" + part("image")[:300], f"{MULTIPART}; boundary=x"),
        400,
        "missing_field",
    ),
    "form with a part without a name": (form(b"content-disposition: form-data\r\n\r\nx"), 400, "broken_form"),
    "form with a part without headers": (form(b"\r\nx"), 400, "broken_form"),
    "form with a header of 8-bit characters": (form(b"content-\xff: x\r\n\r\nx"), 400, "broken_form"),
    "form with a field that is no picture": (
        form(b'content-disposition: form-data; name="image"\r\n\r\nx'),
        400,
        "not_an_image",
    ),
    "form with another field of 2 MB": (
        form(b'content-disposition: form-data; name="note"\r\n\r\n' + b"x" * 2_000_000),
        400,
        "broken_form",
    ),
    "form with a URL": (
        form(b'content-disposition: form-data; name="image"\r\n\r\nhttp://127.0.0.1/'),
        400,
        "url_refused",
    ),
    "form of another field": (form(part("picture")), 400, "missing_field"),
    "form with the file twice": (form(part("image"), part("image")), 400, "several_images"),
    "form with 100,000 headers": (form(b"a: b\r\n" * 100_000), 400, "broken_form"),
    "batch of 257": (form(*[part("images", b"x")] * 257, path="/predict_batch"), 413, "too_many_items"),
    "batch of 10,000": (form(*[part("images", b"x")] * 10_000, path="/predict_batch"), 413, "too_many_items"),
    **{
        f"top_k={value}": (post(PICTURE, path=f"/predict?top_k={value}"), 400, "bad_top_k")
        for value in ("", "0", "-1", "1.5", "x", "1e3", "9" * 5000, "%00", "%F0%9D%9F%9A", "1&top_k=2")
    },
    "unknown path": (request("GET /nowhere"), 404, "unknown_path"),
    "unknown path with a body": (post(PICTURE, path="/predict/x"), 404, "unknown_path"),
    "percent-encoded nonsense": (request("GET /%ff%00%zz%2e%2e%2f%"), 404, "unknown_path"),
    "overlong UTF-8": (request("GET /%c0%ae%c0%ae/etc/passwd"), 404, "unknown_path"),
    "dots": (request("GET /../../etc/passwd"), 404, "unknown_path"),
    "two slashes": (request("GET //livez"), 404, "unknown_path"),
    "newline at the end": (request("GET /livez%0A"), 404, "unknown_path"),
    "asterisk": (request("OPTIONS *"), 404, "unknown_path"),
    "absolute URL without a path": (request("GET http://example.com"), 400, "bad_request"),
    "absolute URL with a port past the last": (request("GET http://a:99999999/livez"), 400, "bad_request"),
    "only a query": (request("GET ?x"), 400, "bad_request"),
    "8-bit characters in the path": (request("GET /\xff\xfe"), 400, "bad_request"),
    **{
        f"method {method}": (request(f"{method} /predict"), 405, "wrong_method")
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "PURGE", "SOURCE")
    },
    "POST to a probe": (post(b"", path="/livez"), 405, "wrong_method"),
    "method FOO": (request("FOO /predict"), 400, "bad_request"),
    "method in lower case": (request("post /predict"), 400, "bad_request"),
    "CONNECT": (request("CONNECT example.com:443"), 400, "bad_request"),
    "40 KB of headers": (request("GET /livez", f"x: {'a' * 40_000}"), 431, "headers_too_large"),
    "64 KB of headers": (request("GET /livez", f"x: {'a' * 65_536}"), 431, "headers_too_large"),
    "10 MB in one header": (request("GET /livez", f"x: {'a' * 10_000_000}"), 431, "headers_too_large"),
    "10 MB in many headers": (
        request("GET /livez", *["x: aaaaaaaaaaaaaaaa"] * 500_000),
        431,
        "headers_too_large",
    ),
    "a header without an end": (b"GET /livez HTTP/1.1\r\nx: " + b"a" * 1_000_000, 431, "headers_too_large"),
    "a URL of 100 KB": (request(f"GET /{'a' * 100_000}"), 431, "headers_too_large"),
    "a method of 1 MB": (b"A" * 1_000_000, 400, "bad_request"),
    "no HTTP": (bytes(range(256)), 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 100, 400, "bad_request"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 400, "bad_request"),
    "HTTP/9.9": (b"GET /livez HTTP/9.9\r\nhost: localhost\r\n\r\n", 400, "bad_request"),
    "bare line feeds": (b"GET /livez HTTP/1.1\nhost: localhost\n\n", 400, "bad_request"),
    "NUL in a header": (headed("x: a\0b", "content-length: 0"), 400, "bad_request"),
    "folded header": (headed("x: a", " b", "content-length: 0"), 400, "bad_request"),
    "space before a colon": (headed("content-length : 4", body=b"abcd"), 400, "bad_request"),
    "length and chunks": (
        headed("content-length: 4", "transfer-encoding: chunked", body=b"0\r\n\r\nGET /"),
        400,
        "bad_request",
    ),
    "chunks and length": (
        headed("transfer-encoding: chunked", "content-length: 4", body=b"0\r\n\r\nGET /"),
        400,
        "bad_request",
    ),
    "two lengths": (headed("content-length: 4", "content-length: 5", body=b"abcde"), 400, "bad_request"),
    "negative length": (headed("content-length: -1"), 400, "bad_request"),
    "length with a sign": (headed("content-length: +4", body=b"abcd"), 400, "bad_request"),
    "length in hexadecimal": (headed("content-length: 0x4", body=b"abcd"), 400, "bad_request"),
    "length of 26 digits": (headed(f"content-length: {'9' * 26}"), 400, "bad_request"),
    "unknown transfer coding": (headed("transfer-encoding: xchunked", body=b"0\r\n\r\n"), 400, "bad_request"),
    "chunked is not the last coding": (
        headed("transfer-encoding: chunked, gzip", body=b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "chunk without a size": (
        headed("transfer-encoding: chunked", body=b"zz\r\nabc\r\n0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "chunk of 20 digits": (
        headed("transfer-encoding: chunked", body=b"f" * 20 + b"\r\nabc"),
        400,
        "bad_request",
    ),
    "body of 200 MB by its length": (headed("content-length: 209715200"), 413, "body_too_large"),
    "body of 200 MB that waits for leave": (
        headed("content-length: 209715200", "expect: 100-continue"),
        413,
        "body_too_large",
    ),
    "body past the limit in chunks": (
        headed("transfer-encoding: chunked", body=(b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 5),
        413,
        "body_too_large",
    ),
    "body past the limit for a probe": (
        request("GET /livez", body=b"x" * (MOST_BODY_BYTES + 1)),
        413,
        "body_too_large",
    ),
    "body that does not come": (headed("content-length: 100", body=b"abc"), 408, "body_timeout"),
    "chunk that does not come": (
        headed("transfer-encoding: chunked", body=b"ff\r\nabc"),
        408,
        "body_timeout",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_service_refuses_in_one_shape_when_the_request_is_bad(pictures_service: Service, name: str) -> None:
    data, expected, code = BAD_REQUESTS[name]
    status, headers, body = ask(pictures_service.port, data)
    assert (status, code_of(body), headers["content-type"]) == (expected, code, "application/json")


BAD_TEXTS: dict[str, tuple[bytes, int, str]] = {
    "no type": (post(b'{"text": "a"}'), 415, "wrong_type"),
    "another type": (post(b"<text/>", "content-type: text/xml"), 415, "wrong_type"),
    "another charset": (post(b"a", "content-type: text/plain; charset=utf-16"), 415, "wrong_charset"),
    "no bytes": (post(b"", JSON), 400, "broken_json"),
    "cut JSON": (post(b'{"text": "a', JSON), 400, "broken_json"),
    "two documents": (post(b'{"text": "a"} {"text": "b"}', JSON), 400, "broken_json"),
    "not UTF-8": (post(b'{"text": "\xff"}', JSON), 400, "not_utf8"),
    "UTF-16": (post('{"text": "a"}'.encode("utf-16"), JSON), 400, "not_utf8"),
    "two byte order marks": (post(b'\xef\xbb\xbf\xef\xbb\xbf{"text": "a"}', JSON), 400, "broken_json"),
    "half of a surrogate pair": (post(b'{"text": "\\ud800"}', JSON), 400, "lone_surrogate"),
    "half of a surrogate pair in a name": (post(b'{"text": "a", "\\ud800": 1}', JSON), 400, "unknown_field"),
    "2,000,000 brackets": (post(b"[" * 2_000_000, JSON), 400, "broken_json"),
    "400,000 nested objects": (post(b'{"text":' * 400_000, JSON), 400, "broken_json"),
    "number of 1,000,000 digits": (post(b'{"text": ' + b"1" * 1_000_000 + b"}", JSON), 400, "broken_json"),
    "NaN": (post(b'{"text": NaN}', JSON), 400, "wrong_json_type"),
    "a list": (post(b'["a"]', JSON), 400, "wrong_json_type"),
    "a batch for one": (post(b'{"texts": ["a"]}', JSON), 400, "missing_field"),
    "a text past the limit": (
        post(json.dumps({"text": "a" * 1_000_000}).encode(), JSON),
        413,
        "text_too_long",
    ),
    "batch of 10,000": (
        post(json.dumps({"texts": ["a"] * 10_000}).encode(), JSON, path="/predict_batch"),
        413,
        "too_many_items",
    ),
    "batch of 1,000,000 numbers": (
        post(b'{"texts": [' + b"1," * 1_000_000 + b"1]}", JSON, path="/predict_batch"),
        413,
        "too_many_items",
    ),
    "batch of none": (post(b'{"texts": []}', JSON, path="/predict_batch"), 400, "empty_batch"),
    "form": (form(part("text", b"a")), 415, "wrong_type"),
    "pickle": (post(b"\x80\x04.", "content-type: application/x-pickle"), 415, "pickle_refused"),
    "gzip that is none": (
        post(zlib.compress(b'{"text": "a"}'), JSON, "content-encoding: gzip"),
        400,
        "broken_encoding",
    ),
    "zstandard": (post(b'{"text": "a"}', JSON, "content-encoding: zstd"), 415, "wrong_encoding"),
    "bad top_k": (post(b'{"text": "a"}', JSON, path="/predict?top_k=none"), 400, "bad_top_k"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_service_refuses_in_one_shape_when_the_text_is_bad(texts_service: Service, name: str) -> None:
    data, expected, code = BAD_TEXTS[name]
    status, _, body = ask(texts_service.port, data)
    assert (status, code_of(body)) == (expected, code)


INFER = "/v2/models/tiny/infer"
BAD_PROTOCOL_REQUESTS: dict[str, tuple[bytes, int]] = {
    "unknown path": (request("GET /v2/nowhere"), 404),
    "unknown model": (post(b"{}", JSON, path="/v2/models/%00%ff/infer"), 404),
    "wrong method": (request(f"GET {INFER}"), 405),
    "no bytes": (post(b"", JSON, path=INFER), 400),
    "cut JSON": (post(b'{"inputs": [', JSON, path=INFER), 400),
    "2,000,000 brackets": (post(b"[" * 2_000_000, JSON, path=INFER), 400),
    "half of a surrogate pair": (post(b'{"inputs": [{"name": "\\ud800"}]}', JSON, path=INFER), 400),
    "header length past the body": (
        post(b"{}", "inference-header-content-length: 999999999999", path=INFER),
        400,
    ),
    "negative header length": (post(b"{}", "inference-header-content-length: -1", path=INFER), 400),
    "shape of 10^60": (
        post(
            b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1%s], "data": []}]}' % (b"0" * 60),
            JSON,
            path=INFER,
        ),
        400,
    ),
    "300,000 inputs that are none": (
        post(b'{"inputs": [' + b"{}," * 300_000 + b"{}]}", JSON, path=INFER),
        400,
    ),
    "300,000 outputs that are none": (
        post(b'{"inputs": [], "outputs": [' + b"1," * 300_000 + b"1]}", JSON, path=INFER),
        400,
    ),
    "shape of 300,000 texts": (
        post(
            b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": ['
            + b'"a",' * 300_000
            + b'"a"], "data": []}]}',
            JSON,
            path=INFER,
        ),
        400,
    ),
    "half of a surrogate pair in a parameter": (
        post(b'{"inputs": [], "parameters": {"\\ud800": "\\ud800"}}', JSON, path=INFER),
        400,
    ),
    "10,000 items": (
        post(
            json.dumps(
                {
                    "inputs": [
                        {"name": "image", "datatype": "BYTES", "shape": [10_000], "data": ["a"] * 10_000}
                    ]
                }
            ).encode(),
            JSON,
            path=INFER,
        ),
        400,
    ),
}


@pytest.mark.parametrize("name", BAD_PROTOCOL_REQUESTS)
def test_service_refuses_as_the_inference_protocol_says_when_the_request_is_bad(
    pictures_service: Service, name: str
) -> None:
    data, expected = BAD_PROTOCOL_REQUESTS[name]
    start = time.monotonic()
    status, _, body = ask(pictures_service.port, data)
    assert code_of(body, protocol=True)
    assert status == expected, body
    assert time.monotonic() - start < 2, "it holds up everybody else"


UPGRADE = "connection: upgrade, http2-settings"
GOOD_REQUESTS: dict[str, bytes] = {
    "HTTP/1.0": f"POST /predict HTTP/1.0\r\ncontent-length: {len(PICTURE)}\r\n\r\n".encode() + PICTURE,
    "absolute URL": request("POST http://example.com/predict", body=PICTURE),
    "client that waits for leave": post(PICTURE, "expect: 100-continue"),
    "chunks of one byte": headed(
        "transfer-encoding: chunked", body=b"".join(b"1\r\n%c\r\n" % byte for byte in PICTURE) + b"0\r\n\r\n"
    ),
    "leave to change to HTTP/2": post(
        PICTURE, UPGRADE, "upgrade: h2c", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA"
    ),
    "websocket with a body": post(
        PICTURE, "connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    ),
    "a query of 20,000 fields": post(PICTURE, path=f"/predict?{'a&' * 20_000}top_k=1"),
    "a request id that is none": post(PICTURE, "x-request-id: \xff\xfe"),
}


@pytest.mark.parametrize("name", GOOD_REQUESTS)
def test_predict_answers_when_the_request_is_unusual_but_good(pictures_service: Service, name: str) -> None:
    status, _, body = ask(pictures_service.port, GOOD_REQUESTS[name])
    assert status == 200, body
    assert json.loads(body)["label"] in {"bars", "plain"}


def test_service_ignores_what_comes_with_it_when_a_websocket_is_asked_for(pictures_service: Service) -> None:
    data = request("GET /livez", "connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13")
    with connect(pictures_service.port) as connection:
        connection.sendall(data + request("GET /readyz", "connection: close"))
        found = read_to_end(connection)
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert b"101 " not in found


@pytest.mark.parametrize(
    "data",
    [headed("content-length: 209715200"), request("PUT /predict", body=b"x")[:-1], b"\0\r\n\r\n"],
    ids=["too large", "PUT", "no HTTP"],
)
def test_service_hangs_up_when_it_has_refused_what_it_did_not_read(
    pictures_service: Service, data: bytes
) -> None:
    start = time.monotonic()
    with connect(pictures_service.port) as connection:
        connection.sendall(data)
        assert read_to_end(connection).count(b"HTTP/1.1 4") == 1
    assert time.monotonic() - start < 10, "it waits for the rest"


def test_service_answers_in_order_when_requests_are_pipelined(pictures_service: Service) -> None:
    bad, last = (
        post(b"garbage", "x-request-id: bad"),
        request("GET /livez", "x-request-id: last", "connection: close"),
    )
    with connect(pictures_service.port) as connection:
        connection.sendall(
            post(PICTURE, "x-request-id: first") + bad + post(PICTURE, "x-request-id: third") + last
        )
        found = read_to_end(connection)
    assert [
        found.index(b"x-request-id: " + name) for name in (b"first", b"bad", b"third", b"last")
    ] == sorted(found.index(b"x-request-id: " + name) for name in (b"first", b"bad", b"third", b"last"))
    assert found.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_service_goes_on_when_clients_hang_up(pictures_service: Service, share: float) -> None:
    data = post(PICTURE)
    for _ in range(20):
        with connect(pictures_service.port) as connection:
            connection.sendall(data[: int(share * len(data))])
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # a reset instead of an orderly end


def test_service_hangs_up_when_headers_never_end(dripping: tuple[socket.socket, float]) -> None:
    connection, since = dripping
    connection.settimeout(1)
    status = None
    while status is None and time.monotonic() < since + HEADERS_MUST_COME_WITHIN_S + 15:
        with suppress(TimeoutError):
            connection.sendall(b"a")
            status, _, body = read_answer(connection)
    assert (status, code_of(body)) == (408, "headers_timeout")


def test_memory_is_as_before_when_all_of_it_has_been_answered(
    pictures_service: Service, texts_service: Service, bytes_before: dict[int, int]
) -> None:
    for service in (pictures_service, texts_service):
        before, after = bytes_before[service.port] / 2**20, service.worker.memory_info().rss / 2**20
        print(f"memory of the worker: {before:.0f} MiB before, {after:.0f} MiB after")  # noqa: T201 - with -s
        assert after < 1.1 * before
