"""Bodies that come packed, within the limits of those that do not, and large answers that go packed."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from serving.model.errors import InputRefusedError
from serving.server.app.build import build_app, frame
from serving.server.app.components import open_components
from serving.server.http.encoding import PIECE_BYTES, Unpacking, read_encoding
from serving.server.http.endpoint import Endpoint
from serving.server.http.limits import BodyLimits, Buffered, LimitedBody
from serving.server.settings import Settings
from tests.conftest import make_picture

BODY = os.urandom(100_000) + b"x" * 1_000_000
LIMITS = BodyLimits(max_bytes=2_000_000, timeout_s=5, max_buffered_bytes=3_000_000)
PACKED = {"content-encoding": "gzip"}


def give(*parts: bytes) -> Callable[[], Any]:
    """An ASGI ``receive`` of a body in these parts, and then of the client's leaving."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    left = iter([*messages, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(left)

    return receive


def cut(body: bytes, size: int = 60_000) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


async def unpack(*parts: bytes) -> list[bytes]:
    unpacking, receive, pieces = Unpacking(), give(*parts), []
    while True:
        message = await unpacking.receive(receive)
        pieces.append(message["body"])
        if not message["more_body"]:
            assert (await unpacking.receive(receive))["type"] == "http.disconnect"
            return pieces


def limited(*parts: bytes, limits: BodyLimits = LIMITS, buffered: Buffered | None = None) -> LimitedBody:
    headers = [(b"transfer-encoding", b"chunked"), (b"content-encoding", b"gzip")]
    return LimitedBody({"headers": headers}, give(*parts), limits, buffered or Buffered())


async def drain(body: LimitedBody) -> None:
    while (await body())["more_body"]:
        pass


async def read(body: LimitedBody) -> bytes:
    read, more = b"", True
    while more:
        message = await body()
        read, more = read + message["body"], message["more_body"]
    return read


WHOLE = gzip.compress(BODY)
STREAMS: dict[str, tuple[list[bytes], bytes]] = {
    "one part": ([WHOLE], BODY),
    "many parts": (cut(WHOLE), BODY),
    "parts of one byte": (cut(gzip.compress(b"abc"), 1), b"abc"),
    "parts without a byte": ([b"", WHOLE, b""], BODY),
    "several members": ([gzip.compress(b"abc") + gzip.compress(b"") + WHOLE], b"abc" + BODY),
    "members apart": ([gzip.compress(b"abc"), gzip.compress(b"def")], b"abcdef"),
    "a thousand members": ([gzip.compress(b"a") * 1000], b"a" * 1000),
    "packed nothing": ([gzip.compress(b"")], b""),
    "nothing": ([b""], b""),
    "just a piece": ([gzip.compress(b"x" * PIECE_BYTES)], b"x" * PIECE_BYTES),
    "pieces that end in the middle of a match": (
        [gzip.compress(b"x" * (3 * PIECE_BYTES + 7))],
        b"x" * (3 * PIECE_BYTES + 7),
    ),
    "header with a name": (
        [gzip.compress(b"", mtime=0)[:3] + b"\x08" + WHOLE[4:10] + b"name\0" + WHOLE[10:]],
        BODY,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_body_is_unpacked_in_bounded_pieces(name: str) -> None:
    parts, expected = STREAMS[name]
    pieces = asyncio.run(unpack(*parts))
    assert b"".join(pieces) == expected
    assert max(map(len, pieces)) <= PIECE_BYTES


BROKEN: dict[str, list[bytes]] = {
    "garbage": [b"\x89PNG" * 100],
    "zlib": [zlib.compress(BODY)],
    "cut": [WHOLE[:-9]],
    "cut in the checksum": [WHOLE[:-1]],
    "cut in the header": [WHOLE[:5]],
    "damaged": [WHOLE[:50_000] + b"\xff" * 100 + WHOLE[50_100:]],
    "wrong checksum": [WHOLE[:-8] + b"\0" * 8],
    "bytes after the end": [WHOLE + b"{}"],
    "one byte after the end": [WHOLE, b"\x1f"],
    "zeros after the end": [WHOLE + b"\0" * 512],
    "second member cut": [WHOLE + WHOLE[:100]],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_is_not_whole_gzip_is_refused(name: str) -> None:
    with pytest.raises(
        InputRefusedError, match=r"^The body cannot be unpacked with gzip: .*\. Send "
    ) as caught:
        asyncio.run(unpack(*BROKEN[name]))
    assert (caught.value.code, caught.value.status) == ("broken_encoding", 400)


def test_unpacked_bytes_count_and_are_counted_back() -> None:
    buffered = Buffered(5)
    body = limited(*cut(WHOLE), buffered=buffered)
    assert asyncio.run(read(body)) == BODY
    assert (body.bytes, body.arrived, body.is_complete, buffered.bytes) == (
        len(BODY),
        len(WHOLE),
        True,
        len(BODY) + 5,
    )
    body.release()
    assert buffered.bytes == 5


@pytest.mark.parametrize("size", [LIMITS.max_bytes, LIMITS.max_bytes + 1])
def test_the_limit_is_on_what_was_unpacked(size: int) -> None:
    body = limited(gzip.compress(b"x" * size))
    if size <= LIMITS.max_bytes:
        assert len(asyncio.run(read(body))) == size
        return
    with pytest.raises(InputRefusedError) as caught:
        asyncio.run(read(body))
    assert (caught.value.code, caught.value.status) == ("body_too_large", 413)


def test_a_stream_that_unpacks_to_nothing_ends_at_the_limit() -> None:
    body = limited(*[gzip.compress(b"") * 3000] * 50)  # of 60 kB each
    with pytest.raises(InputRefusedError) as caught:
        asyncio.run(read(body))
    assert caught.value.code == "body_too_large"
    assert body.bytes == 0


def test_unpacked_bytes_keep_to_the_memory_of_all_bodies() -> None:
    buffered = Buffered(2_500_000)
    body = limited(gzip.compress(b"x" * 1_500_000), buffered=buffered)
    with pytest.raises(InputRefusedError) as caught:
        asyncio.run(read(body))
    assert (caught.value.code, caught.value.status) == ("overloaded", 503)
    body.release()
    assert buffered.bytes == 2_500_000


def test_a_bomb_takes_little_memory_and_lets_others_go_on() -> None:
    bomb = gzip.compress(b"\0" * 300_000_000, 9)
    limits = BodyLimits(max_bytes=200_000_000, timeout_s=60, max_buffered_bytes=10**9)
    turns, waits = 0, [0.0]

    async def tick() -> None:
        nonlocal turns
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            turns, now = turns + 1, time.perf_counter()
            waits.append(now - before)
            before = now

    async def defuse() -> int:
        other, body = asyncio.create_task(tick()), limited(bomb, limits=limits)
        with pytest.raises(InputRefusedError):
            await drain(body)
        other.cancel()
        return body.bytes

    tracemalloc.start()
    arrived = asyncio.run(defuse())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert limits.max_bytes < arrived <= limits.max_bytes + PIECE_BYTES
    assert turns > 700, "of 763 pieces"
    assert peak < 4 * PIECE_BYTES
    assert sorted(waits)[-3] < 0.05
    print(  # noqa: T201 - with -s
        f"longest wait {1000 * max(waits):.1f} ms, most memory {peak / 2**10:.0f} KiB"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "identity"), ([b""], "identity"), ([b"identity"], "identity"), ([b"gzip"], "gzip"),
        ([b" GZip "], "gzip"), ([b"x-gzip"], "gzip"), ([b"gzip, gzip"], "gzip, gzip"),
        ([b"gzip", b"gzip"], "gzip, gzip"), ([b"br"], "br"),
    ],
)  # fmt: skip
def test_read_encoding_reads_the_one_coding(given: list[bytes], expected: str) -> None:
    assert (
        read_encoding([(b"content-type", b"gzip"), *((b"content-encoding", value) for value in given)])
        == expected
    )


BODIES = [
    b"{}",
    b"x" * 4096,
    json.dumps(list(range(3000))).encode(),
    json.dumps(list(range(300_000))).encode(),
    os.urandom(5000),
]


async def echo(request: Request) -> Response:
    body = await request.body()
    return Response(body, media_type=request.headers.get("content-type", "application/json"))


async def page(request: Request) -> Response:
    return Response(BODIES[2], media_type="application/json")


def make_app(path: Path) -> Starlette:
    parts = open_components(Settings(bundle=path))
    rows = [
        Endpoint("POST", "/echo", "echo", echo, "probe", "", "text/plain"),
        Endpoint("POST", "/v2/echo", "echo", echo, "probe", "", "text/plain"),
        Endpoint("GET", "/page", "page", page, "probe", "", "text/plain"),
    ]
    return frame(parts, rows)


def ask(app: Starlette, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    async def exchange() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            return [await client.request(method, path, **options) for method, path, options in requests]

    return asyncio.run(exchange())


def test_an_endpoint_sees_the_unpacked_body(tmp_path: Path) -> None:
    packed = [
        ("POST", "/echo", {"content": WHOLE, "headers": {"content-encoding": name}})
        for name in ("gzip", "x-gzip", "GZIP")
    ]
    plain = ("POST", "/echo", {"content": WHOLE, "headers": {"content-encoding": "identity"}})
    empty = ("POST", "/echo", {"content": b"", "headers": PACKED})
    answers = ask(make_app(tmp_path), *packed, plain, empty)
    assert [answer.content for answer in answers] == [BODY, BODY, BODY, WHOLE, b""]


def test_a_body_that_cannot_be_unpacked_gets_an_answer_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    answers = ask(
        make_app(tmp_path),
        *(("POST", "/echo", {"content": b"".join(BROKEN[name]), "headers": PACKED}) for name in BROKEN),
    )
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {
        (400, "broken_encoding")
    }
    assert time.monotonic() - began < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "identity, gzip", "aws-chunked"]
)
def test_another_coding_is_refused_with_the_one_that_is_read(tiny_run: Path, encoding: str) -> None:
    options = {"content": make_picture("bars", 1), "headers": {"content-encoding": encoding}}
    (answer,) = ask(build_app(Settings(bundle=tiny_run / "bundle")), ("POST", "/predict", options))
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "wrong_encoding")
    assert answer.headers["accept-encoding"] == "gzip"
    assert "gzip, not as" in answer.json()["error"]["message"]


@pytest.mark.slow
def test_pictures_come_packed_in_every_form(tiny_run: Path) -> None:
    picture, infer = make_picture("bars", 960), "/v2/models/tiny/infer"
    one, many = (
        httpx.Request("POST", "http://a", files=files)
        for files in ({"image": picture}, [("images", picture), ("images", picture)])
    )
    tensor = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([picture], np.object_))
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    wanted: list[tuple[str, bytes, dict[str, str]]] = [
        ("/predict", picture, {}),
        ("/predict", one.read(), dict(one.headers)),
        ("/predict_batch", many.read(), dict(many.headers)),
        (infer, body, {"inference-header-content-length": str(length)}),
    ]
    requests = []
    for path, content, headers in wanted:
        kept = {name: value for name, value in headers.items() if name not in {"host", "content-length"}}
        requests.append(("POST", path, {"content": content, "headers": kept}))
        requests.append(("POST", path, {"content": gzip.compress(content), "headers": kept | PACKED}))
    answers = ask(build_app(Settings(bundle=tiny_run / "bundle")), *requests)
    assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
    for plain, packed in zip(answers[::2], answers[1::2], strict=True):
        assert plain.content == packed.content


@pytest.mark.slow
def test_texts_come_packed(text_run: Path) -> None:
    headers = {"content-type": "application/json"} | PACKED
    contents = [("/predict", {"text": "good day"}), ("/predict_batch", {"texts": ["good day"] * 200})]
    requests = [
        ("POST", path, {"content": gzip.compress(json.dumps(body).encode()), "headers": headers})
        for path, body in contents
    ]
    answers = ask(build_app(Settings(bundle=text_run / "bundle")), *requests)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(answers[1].json()["predictions"]) == 200
    assert answers[1].headers["content-encoding"] == "gzip"
    assert "content-encoding" not in answers[0].headers


ACCEPTED = ["gzip", "GZIP", "x-gzip", "br, gzip;q=0.5", "gzip; q=0.001", "deflate,gzip ;q=1.0, *;q=0"]
NOT_ACCEPTED = [
    "",
    "identity",
    "br",
    "gzip;q=0",
    "gzip; q=0.000",
    "br, GZIP ; Q=0.0, identity",
    "gzipped",
    "gzip;q=0, br",
]


@pytest.mark.parametrize("accepted", [*ACCEPTED, *NOT_ACCEPTED])
def test_a_large_answer_is_packed_for_those_who_accept_it(tmp_path: Path, accepted: str) -> None:
    (answer,) = ask(make_app(tmp_path), ("GET", "/page", {"headers": {"accept-encoding": accepted}}))
    assert answer.content == BODIES[2]
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers.get("content-encoding") == ("gzip" if accepted in ACCEPTED else None)
    assert (int(answer.headers["content-length"]) < len(BODIES[2]) // 2) == (accepted in ACCEPTED)


def test_small_answers_and_binary_tensors_are_sent_as_they_are(tmp_path: Path) -> None:
    binary = {"content-type": "application/octet-stream"}
    small, least, tensors = ask(
        make_app(tmp_path),
        ("POST", "/echo", {"content": b"x" * 4095}),
        ("POST", "/echo", {"content": b"x" * 4096}),
        ("POST", "/echo", {"content": b"x" * 5000, "headers": binary}),
    )
    assert not {"content-encoding", "vary"} & set(small.headers)
    assert not {"content-encoding", "vary"} & set(tensors.headers)
    assert least.headers["content-encoding"] == "gzip"


def test_head_tells_what_get_would_send(tmp_path: Path) -> None:
    got, told = ask(make_app(tmp_path), ("GET", "/page", {}), ("HEAD", "/page", {}))
    for name in ("content-encoding", "content-length", "vary"):
        assert got.headers[name] == told.headers[name]


def test_a_very_large_answer_is_packed_beside_the_event_loop(tmp_path: Path) -> None:
    app, waits = make_app(tmp_path), [0.0]
    body = BODIES[3] * 3  # 6 MB

    async def tick() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            waits.append(time.perf_counter() - before)
            before = time.perf_counter()

    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            other = asyncio.create_task(tick())
            answer = await client.post("/echo", content=body, headers={"accept-encoding": "gzip"})
            other.cancel()
            return answer

    answer = asyncio.run(exchange())
    assert answer.content == body
    assert int(answer.headers["content-length"]) < len(body) // 2
    assert len(waits) > 5, "nobody else had a turn"
