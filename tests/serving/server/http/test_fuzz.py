"""Thousands of damaged requests, and those that the service's own OpenAPI document leads to.

They cause no fault, their errors have one shape, and no memory is lost.
"""

from __future__ import annotations

import io
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import free_port, make_picture, serving

pytestmark = pytest.mark.slow
SEED = 20
PICTURE_REQUESTS, TEXT_REQUESTS = 5000, 1500
# glibc keeps up to 64 MiB of what each thread has freed, if chance lets large pictures meet. So that what a
# process holds is what is measured, everything goes back at once.
FREED_IS_RETURNED = ("MALLOC_TRIM_THRESHOLD_=131072", "MALLOC_MMAP_THRESHOLD_=4194304")
CONNECTIONS = 4  # fewer than may wait, so that none is refused for its number
EXAMPLES = 40  # of each operation, once to the document and once against it
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FORM_TYPE, JSON = "multipart/form-data; boundary=x", "application/json"


@dataclass(frozen=True)
class Service:
    """A running one."""

    url: str
    port: int
    worker: psutil.Process

    def memory_mib(self) -> float:
        return self.worker.memory_info().rss / 2**20


@dataclass(frozen=True)
class Damaged:
    """One request."""

    path: str
    type: str
    body: bytes
    headers: dict[str, str]


def find_worker(port: int) -> psutil.Process:
    """The one process that answers, below the one that holds the port, which this process started."""
    (parent,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    (worker,) = [child for child in parent.children() if "--multiprocessing-fork" in child.cmdline()]
    return worker


@contextmanager
def served(run: Path, log: Path) -> Iterator[Service]:
    port = free_port()
    command = [
        "env",
        *FREED_IS_RETURNED,
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
    # What is large is given back as soon as it is freed, so that a leak is told from what malloc keeps.
    command = ["env", "MALLOC_MMAP_THRESHOLD_=4194304", *command]
    with serving(command, port) as url:
        yield Service(url, port, find_worker(port))


@pytest.fixture(scope="module")
def pictures_service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tiny_run, tmp_path_factory.mktemp("log") / "pictures") as service:
        yield service


@pytest.fixture(scope="module")
def texts_service(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(text_run, tmp_path_factory.mktemp("log") / "texts") as service:
        yield service


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_pictures() -> list[bytes]:
    """Small ones of every format, and of every variant that a decoder has code of its own for."""
    image = Image.open(io.BytesIO(make_picture("bars", 950))).convert("RGB").resize((40, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(encode(image, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")),
        encode(image, "PNG", exif=exif),
        encode(image.convert("P"), "PNG", transparency=b"\0\x80"),
        encode(image.convert("L"), "PNG", bits=8),
        encode(image, "JPEG", progressive=True, exif=exif),
        encode(image.convert("CMYK"), "JPEG"),
        encode(image, "WEBP", lossless=True, exif=exif),
        encode(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        encode(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        *(
            encode(image, "TIFF", compression=kind)
            for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        encode(image.convert("1"), "TIFF", compression="group4"),
        encode(image.convert("P"), "BMP"),
    ]


def flip(body: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8, 32))):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def truncate(body: bytearray, rng: random.Random) -> None:
    del body[rng.randrange(len(body)) :]


def insert(body: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(body))
    body[at:at] = rng.choice(
        (
            rng.randbytes(rng.randrange(1, 40)),
            b"\0" * 64,
            b"\xff" * 64,
            b"\r\n--x\r\n",
            b'"',
            b"\\ud800",
            b"[",
        )
    )


def splice(body: bytearray, rng: random.Random) -> None:
    start, to, length = (rng.randrange(len(body)) for _ in range(3))
    body[to : to + length // 4] = body[start : start + length // 4]


def overwrite_length(body: bytearray, rng: random.Random) -> None:
    """Most lengths stand near the beginning, in two or four bytes."""
    at = min(rng.randrange(len(body)), rng.randrange(256))
    size = rng.choice((1, 2, 4))
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    body[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))


CHANGES = (flip, truncate, insert, splice, overwrite_length)


def damage(body: bytes, rng: random.Random) -> bytes:
    changed = bytearray(body)
    for change in rng.choices(CHANGES, k=rng.choice((1, 1, 2, 4))):
        if changed:
            change(changed, rng)
    return bytes(changed)


def make_form(name: str, contents: list[bytes]) -> bytes:
    disposition = f'form-data; name="{name}"; filename="x"'
    head = f"--x\r\ncontent-disposition: {disposition}\r\ncontent-type: image/png\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + b"--x--\r\n"


PICTURES = make_pictures()


def damaged_picture(rng: random.Random) -> Damaged:
    """A damaged picture, or another damaged request.

    Most are pictures, raw or in a whole form; the rest are damaged forms and damaged requests of the
    inference protocol.
    """
    kind, picture = rng.random(), rng.choice(PICTURES)
    query = rng.choice(("", "", "?top_k=1"))
    if kind < 0.6:
        return Damaged(f"/predict{query}", "image/png", damage(picture, rng), {})
    if kind < 0.75:
        contents = [damage(rng.choice(PICTURES), rng) for _ in range(3)]
        return Damaged(f"/predict_batch{query}", FORM_TYPE, make_form("images", contents), {})
    if kind < 0.85:
        path, name = rng.choice((("/predict", "image"), ("/predict_batch", "images")))
        return Damaged(path, FORM_TYPE, damage(make_form(name, [picture]), rng), {})
    head = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(picture) + 4},
            }
        ]
    }
    text = json.dumps(head).encode()
    length = len(text) + rng.choice((0, 0, 0, 1, -1, 10**9))
    body = damage(text + len(picture).to_bytes(4, "little") + picture, rng)
    return Damaged(
        "/v2/models/tiny/infer",
        "application/octet-stream",
        body,
        {"Inference-Header-Content-Length": str(length)},
    )


TEXTS = (
    ("/predict", {"text": "so good \U0001f600"}),
    ("/predict_batch", {"texts": ["so good", "", "so bad " * 9, "\0"]}),
    (
        "/v2/models/tiny-text/infer",
        {"id": "1", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["so", "bad"]}]},
    ),
    (
        "/v2/models/tiny-text/infer",
        {
            "inputs": [
                {
                    "name": "text",
                    "datatype": "BYTES",
                    "shape": [1, 1],
                    "data": ["so"],
                    "parameters": {"binary_data_size": 0},
                }
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True, "classification": 2}}],
        },
    ),
)


def damaged_text(rng: random.Random) -> Damaged:
    path, document = rng.choice(TEXTS)
    if rng.random() < 0.1:
        return Damaged("/predict", "text/plain", damage("so good \U0001f600 and bad".encode(), rng), {})
    body = json.dumps(document, ensure_ascii=rng.random() < 0.5).encode()
    return Damaged(path, JSON, damage(body, rng), {})


def find_fault(path: str, status: int, body: bytes) -> str | None:
    """What is wrong with an answer, whatever was asked."""
    if status == 200:
        return None
    if not 400 <= status < 500:
        return f"status {status}"
    document = json.loads(body)
    fields = document if path.startswith("/v2") else document.get("error", {})
    expected = {"error", "code"} if path.startswith("/v2") else {"code", "message"}
    whole = set(document) == (expected if path.startswith("/v2") else {"error"})
    return (
        None
        if whole and set(fields) == expected and all(isinstance(text, str) for text in fields.values())
        else f"shape {body[:200]!r}"
    )


class Fuzzer:
    """Sends what ``make`` makes of each index, over a few connections at once.

    Args:
        service: To which.
        make: One request, by the chance that is its index's own.
        folder: Where a body that finds a fault is written to.
    """

    def __init__(self, service: Service, make: Callable[[random.Random], Damaged], folder: Path) -> None:
        self.service, self.make, self.folder = service, make, folder
        self.statuses: Counter[int] = Counter()
        self._own = threading.local()

    def send(self, index: int) -> str | None:
        """What is wrong with its answer."""
        damaged = self.make(random.Random(f"{SEED}:{index}"))
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPConnection("127.0.0.1", self.service.port, timeout=30)
        try:
            self._own.connection.request(
                "POST", damaged.path, damaged.body, {"content-type": damaged.type, **damaged.headers}
            )
            answer = self._own.connection.getresponse()
            status, body = answer.status, answer.read()
            fault = find_fault(damaged.path, status, body)
            self.statuses[status] += 1
        except (OSError, ValueError) as error:  # no answer in time, none at all, or one that is no JSON
            self._own.connection.close()
            fault = repr(error)
        if fault:
            (self.folder / f"{index}.body").write_bytes(damaged.body)
            body = self.folder / f"{index}.body"
            return f"seed {SEED}, index {index}, {damaged.path}: {fault}; its body is {body}"
        return None

    def run(self, indices: range) -> list[str]:
        """Every fault."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return [fault for fault in pool.map(self.send, indices) if fault]


@pytest.mark.parametrize(
    ("name", "make", "count"),
    [("pictures_service", damaged_picture, PICTURE_REQUESTS), ("texts_service", damaged_text, TEXT_REQUESTS)],
)
def test_service_answers_or_refuses_in_one_shape_when_bodies_are_damaged(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    name: str,
    make: Callable[[random.Random], Damaged],
    count: int,
) -> None:
    service = request.getfixturevalue(name)
    fuzzer = Fuzzer(service, make, tmp_path)
    faults = fuzzer.run(range(count // 5))
    before = service.memory_mib()
    faults += fuzzer.run(range(count // 5, count))
    after = service.memory_mib()
    print(f"{dict(fuzzer.statuses)}; memory {before:.0f} MiB, then {after:.0f} MiB")  # noqa: T201 - with -s
    assert faults == []
    assert fuzzer.statuses[200] > count // 50, "hardly any got as far as the model"
    assert fuzzer.statuses[400] > count // 10, "hardly any were damaged"
    assert find_worker(service.port).pid == service.worker.pid
    assert after < 1.1 * before


@pytest.mark.parametrize("name", ["pictures_service", "texts_service"])
def test_service_keeps_to_its_own_document_when_asked_by_it(
    request: pytest.FixtureRequest, name: str
) -> None:
    service = request.getfixturevalue(name)
    document = schemathesis.openapi.from_url(f"{service.url}/docs.json")
    asked: Counter[int] = Counter()
    with requests.Session() as session:
        for result in document.get_all_operations():
            operation = result.ok()
            ask_by_operation(operation, schemathesis.GenerationMode.POSITIVE, session, asked)
            if operation.path_parameters or operation.body:  # what takes nothing cannot be asked wrongly
                ask_by_operation(operation, schemathesis.GenerationMode.NEGATIVE, session, asked)
    print(f"{dict(asked)}")  # noqa: T201 - with -s
    assert asked.total() > 500
    assert find_worker(service.port).pid == service.worker.pid


def ask_by_operation(
    operation: Any, mode: schemathesis.GenerationMode, session: requests.Session, asked: Counter[int]
) -> None:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        asked[case.call_and_validate(session=session, checks=CHECKS, timeout=30).status_code] += 1

    ask()
