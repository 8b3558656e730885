"""The client against a real local server that answers by a script."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import pickle
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import (
    AsyncClient,
    Client,
    ClientError,
    ErrorBody,
    Prediction,
    RequestRefusedError,
    Retries,
    RoundTrip,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from serving.client.answers import retry_after_s, server_ms
from serving.model.inputs.registry import find_kind
from tests.conftest import ROOT, free_port

PREDICTION = {
    "label": "cat",
    "probability": 0.75,
    "probabilities": {"cat": 0.75, "dog": 0.25},
    "model": {"name": "pets", "version": "1", "artifact": "onnx-fp32"},
}
QUICK = Retries(first_wait_s=0.002)
RESET = "reset"


def error(code: str = "overloaded", message: str = "The queue is full.") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def busy(status: int = 503, **headers: str) -> tuple[int, dict[str, str], Any]:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, error()


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


@dataclass
class Script:
    """What the server answers, one after another, and what it was asked.

    Past the script's end every item gets a prediction.
    """

    answers: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


@pytest.fixture(scope="module", autouse=True)
def _one_tls_context() -> Iterator[None]:
    """Every new httpx client reads all root certificates, and no test here needs one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            script: Script = self.server.script
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append(
                Asked(
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                    time.monotonic(),
                )
            )
            step = script.answers.pop(0) if script.answers else (200, {}, predictions(self.path, body))
            if step == RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            if isinstance(step, float):
                time.sleep(step)
                step = (200, {}, PREDICTION)
            self.reply(*step)

        def reply(self, status: int, headers: dict[str, str], value: Any) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # the usual 5 drop connections that come at once

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", free_port()), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def script(server: ThreadingHTTPServer) -> Script:
    server.script = Script(url=f"http://127.0.0.1:{server.server_port}")
    return server.script


def predictions(path: str, body: bytes) -> Any:
    """The label of each item is the item, so that their order shows."""
    if not path.startswith("/predict_batch"):
        return PREDICTION
    if body.startswith(b"{"):
        items = json.loads(body)["texts"]
    else:
        items = [
            part.split(b"\r\n\r\n")[1].removesuffix(b"\r\n").decode()
            for part in body.split(body.split(b"\r\n")[0])[1:-1]
        ]
    return {
        "predictions": [
            error("empty_input", "Nothing.") if not item else PREDICTION | {"label": item} for item in items
        ]
    }


@dataclass
class Caller:
    """One call, by a client of one of the two kinds."""

    kind: str

    def __call__(
        self, url: str, method: str, *arguments: Any, call: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        options = {"retries": QUICK, **options}
        if self.kind == "async":
            return asyncio.run(self.call_async(url, method, arguments, call or {}, options))
        with Client(url, **options) as client:
            return getattr(client, method)(*arguments, **(call or {}))

    async def call_async(
        self, url: str, method: str, arguments: tuple[Any, ...], call: dict[str, Any], options: dict[str, Any]
    ) -> Any:
        async with AsyncClient(url, **options) as client:
            return await getattr(client, method)(*arguments, **call)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def test_predict_image_sends_the_bytes_however_they_are_given(
    script: Script, call: Caller, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"picture")
    with path.open("rb") as opened:
        for picture in (
            b"picture",
            bytearray(b"picture"),
            memoryview(b"picture"),
            path,
            opened,
            io.BytesIO(b"picture"),
        ):
            assert call(script.url, "predict_image", picture) == Prediction.model_validate(PREDICTION)
    assert {(asked.path, asked.body) for asked in script.asked} == {("/predict", b"picture")}
    assert script.asked[0].headers["content-type"] == "application/octet-stream"
    assert "authorization" not in script.asked[0].headers


@pytest.mark.parametrize("picture", ["cat.png", "http://127.0.0.1/cat.png", 5, io.StringIO("cat"), None])
def test_predict_image_takes_no_string_for_a_picture(script: Script, call: Caller, picture: Any) -> None:
    with pytest.raises(TypeError, match="A string is not taken for a path"):
        call(script.url, "predict_image", picture)
    with pytest.raises(TypeError, match="not taken"):
        call(script.url, "predict_images", [picture])
    assert not script.asked


def test_predict_image_says_which_file_is_missing(script: Script, call: Caller) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        call(script.url, "predict_image", Path("missing.png"))


def test_predict_text_sends_any_text_as_json(script: Script, call: Caller) -> None:
    for text in ("", "so good \U0001f600", "half \ud800"):
        assert call(script.url, "predict_text", text, call={"top_k": 1}).label == "cat"
        assert json.loads(script.asked[-1].body) == {"text": text}
    assert script.asked[0].path == "/predict?top_k=1"
    assert script.asked[0].headers["content-type"] == "application/json"


def test_requests_go_below_a_path_and_carry_key_and_id(script: Script, call: Caller) -> None:
    call(f"{script.url}/pets/", "predict_text", "a", api_key="secret\n", call={"request_id": "mine"})
    call(script.url, "predict_text", "a")
    first, second = script.asked
    assert (first.path, first.headers["authorization"], first.headers["x-request-id"]) == (
        "/pets/predict",
        "Bearer secret",
        "mine",
    )
    assert len(second.headers["x-request-id"]) == 32


@pytest.mark.parametrize("count", [0, 1, 256, 257, 600])
def test_predict_texts_splits_what_one_request_cannot_carry(script: Script, call: Caller, count: int) -> None:
    texts = [f"text {index}" for index in range(count)]
    assert [answer.label for answer in call(script.url, "predict_texts", texts)] == texts
    assert [len(json.loads(asked.body)["texts"]) for asked in script.asked] == [
        min(256, count - start) for start in range(0, count, 256)
    ]


def test_predict_images_splits_and_keeps_the_order(script: Script, call: Caller) -> None:
    pictures = (f"picture {index}".encode() if index != 7 else b"" for index in range(300))
    answers = call(script.url, "predict_images", pictures, call={"top_k": 2, "request_id": "mine"})
    assert answers[7] == ErrorBody.model_validate(error("empty_input", "Nothing."))
    assert [answer.label for answer in answers[8:]] == [f"picture {index}" for index in range(8, 300)]
    assert [(asked.path, asked.headers["x-request-id"]) for asked in script.asked] == [
        ("/predict_batch?top_k=2", "mine")
    ] * 2


def test_batches_split_by_size_too(script: Script, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("client", "async_client"):
        monkeypatch.setattr(
            f"serving.client.{module}.find_kind", lambda name: replace(find_kind(name), max_body_bytes=20)
        )
    assert len(call(script.url, "predict_images", [b"1234", b"5678", b"9", b"a" * 11, b"b"])) == 5
    assert len(script.asked) == 3
    assert len(call(script.url, "predict_texts", ["\U0001f600", "a", "b"])) == 3
    assert len(script.asked) == 5, "an emoji is twelve letters once it is escaped"


def test_predict_texts_does_not_take_one_text_for_many(script: Script, call: Caller) -> None:
    with pytest.raises(TypeError, match="Give a list of texts"):
        call(script.url, "predict_texts", "abc")


def test_a_batch_with_fewer_answers_than_items_is_refused(script: Script, call: Caller) -> None:
    script.answers = [(200, {}, {"predictions": [PREDICTION]})]
    with pytest.raises(UnexpectedAnswerError, match="1 predictions for 2 inputs"):
        call(script.url, "predict_texts", ["a", "b"])


@pytest.mark.parametrize("failure", [busy(503), busy(429), busy(502), (503, {}, b"<html>"), RESET], ids=str)
def test_a_failure_that_passes_is_tried_again_with_the_same_request(
    script: Script, call: Caller, failure: Any
) -> None:
    script.answers = [failure] * 3
    assert call(script.url, "predict_image", io.BytesIO(b"picture")).label == "cat"
    assert len(script.asked) == 4
    assert len({(asked.body, asked.headers["x-request-id"]) for asked in script.asked}) == 1


def test_a_form_is_sent_whole_with_every_attempt(script: Script, call: Caller) -> None:
    script.answers = [busy(), RESET]
    assert [answer.label for answer in call(script.url, "predict_images", [b"a", b"b"])] == ["a", "b"]


def test_retries_end_after_their_attempts(script: Script, call: Caller) -> None:
    script.answers = [busy(X_Request_ID="theirs")] * 9
    with pytest.raises(ServiceUnavailableError) as raised:
        call(script.url, "predict_text", "a", retries=Retries(attempts=3, first_wait_s=0.001))
    assert len(script.asked) == 3
    assert (raised.value.code, raised.value.status, raised.value.request_id) == ("overloaded", 503, "theirs")
    for part in (
        script.url,
        "The queue is full.",
        "Try later",
        "Tried 3 times",
        "HTTP 503, overloaded, request theirs",
    ):
        assert part in str(raised.value)


def test_retry_after_is_waited_for(script: Script, call: Caller) -> None:
    script.answers = [busy(Retry_After="0.15")]
    call(script.url, "predict_text", "a")
    assert 0.15 <= script.asked[1].at_s - script.asked[0].at_s < 0.6


def test_retry_after_past_the_timeout_is_not_waited_for(script: Script, call: Caller) -> None:
    script.answers = [busy(429, Retry_After="60")]
    started = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=r"asks to wait 60 s.*Tried once"):
        call(script.url, "predict_text", "a", timeout_s=5)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_what_would_be_refused_again_is_not_tried_again(script: Script, call: Caller, status: int) -> None:
    script.answers = [(status, {}, error("no_reason", "Not so."))]
    with pytest.raises(RequestRefusedError) as raised:
        call(script.url, "predict_text", "a", call={"request_id": "mine"})
    assert len(script.asked) == 1
    assert isinstance(raised.value, ClientError)
    assert (raised.value.code, raised.value.message, raised.value.status, raised.value.request_id) == (
        "no_reason",
        "Not so.",
        status,
        "mine",
    )


def test_a_refusal_by_something_else_says_what_is_known(script: Script, call: Caller) -> None:
    script.answers = [(413, {}, b"<html>too large</html>")]
    with pytest.raises(RequestRefusedError, match="413 Request Entity Too Large") as raised:
        call(script.url, "predict_text", "a")
    assert raised.value.code == "http_413"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {}, b"<html>Welcome"), "starts with '<html>Welcome'"),
        ((200, {}, {"label": "cat"}), "is no Prediction"),
        ((301, {"Location": "https://elsewhere/"}, b""), "redirects to https://elsewhere/"),
        ((200, {"Content-Encoding": "gzip"}, b"not gzip"), "request"),
    ],
)
def test_an_answer_of_another_program_is_an_error(
    script: Script, call: Caller, answer: Any, says: str
) -> None:
    script.answers = [answer]
    with pytest.raises(UnexpectedAnswerError) as raised:
        call(script.url, "predict_text", "a", api_key="secret")
    assert says in str(raised.value)
    assert len(script.asked) == 1


def test_an_answer_that_takes_too_long_is_given_up(script: Script, call: Caller) -> None:
    script.answers = [0.4]
    started = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=r"did not answer within 0\.1 s.*timed_out"):
        call(script.url, "predict_text", "a", timeout_s=0.1)
    assert time.monotonic() - started < 0.39
    assert len(script.asked) == 1


def test_the_reason_outlives_a_last_attempt_that_time_cuts_short(script: Script, call: Caller) -> None:
    script.answers = [busy(), 0.4]
    with pytest.raises(
        ServiceUnavailableError, match=r"The queue is full\..*Tried 2 times.*HTTP 503, overloaded"
    ):
        call(script.url, "predict_text", "a", timeout_s=0.1)


def test_an_attempt_that_takes_too_long_gives_way_to_the_next(script: Script, call: Caller) -> None:
    script.answers = [0.4]
    started = time.monotonic()
    assert (
        call(
            script.url, "predict_text", "a", retries=Retries(first_wait_s=0.002, attempt_timeout_s=0.1)
        ).label
        == "cat"
    )
    assert time.monotonic() - started < 0.39


def test_a_service_that_is_not_there_is_named(call: Caller) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        ServiceUnavailableError, match=f"{url} cannot be reached.*Check the address.*Tried 5 times"
    ) as raised:
        call(url, "predict_text", "a")
    assert raised.value.status is None
    assert not call(url, "is_ready")


def test_is_ready_asks_once(script: Script, call: Caller) -> None:
    script.answers = [(200, {}, {}), busy()]
    assert call(script.url, "is_ready") is True
    assert call(script.url, "is_ready") is False
    assert [asked.path for asked in script.asked] == ["/readyz"] * 2


def test_wait_until_ready_returns_when_the_service_is_there(script: Script, call: Caller) -> None:
    script.answers = [(404, {}, b""), RESET, busy(), (200, {}, {})]
    assert call(script.url, "wait_until_ready") is None
    assert len(script.asked) == 4


def test_wait_until_ready_says_why_when_time_is_over(script: Script, call: Caller) -> None:
    script.answers = [(503, {}, error("provider_failed", "no libcuda.so.1"))] * 1000
    with pytest.raises(ServiceUnavailableError, match=r"no libcuda\.so\.1"):
        call(script.url, "wait_until_ready", 0.1)


def test_on_answer_sees_the_timings(script: Script, call: Caller) -> None:
    timing = 'decode;dur=1.2, queue;dur=0.1, session;desc="a";dur=7, total;dur="8.5", cache'
    script.answers = [
        busy(),
        (200, {"Server-Timing": timing, "X-Request-ID": "theirs"}, PREDICTION),
        (400, {}, error()),
    ]
    seen: list[RoundTrip] = []
    call(script.url, "predict_text", "a", on_answer=seen.append)
    with pytest.raises(RequestRefusedError):
        call(script.url, "predict_text", "a", on_answer=seen.append)
    assert (seen[0].path, seen[0].status, seen[0].attempts, seen[0].request_id) == (
        "/predict",
        200,
        2,
        "theirs",
    )
    assert seen[0].server_ms == {"decode": 1.2, "queue": 0.1, "session": 7.0, "total": 8.5}
    assert 0 < seen[0].elapsed_s < 5
    assert (seen[1].status, seen[1].server_ms) == (400, {})


def test_one_client_serves_several_threads_and_tasks(script: Script) -> None:
    labels: list[str] = []
    with Client(script.url, retries=QUICK) as client:
        threads = [
            threading.Thread(target=lambda: labels.append(client.predict_text("a").label)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert labels == ["cat"] * 8

    async def ask() -> list[Prediction]:
        async with AsyncClient(script.url, retries=QUICK) as client:
            return await asyncio.gather(*(client.predict_text("a") for _ in range(8)))

    assert len(asyncio.run(ask())) == 8


@pytest.mark.parametrize(
    "url",
    [
        "localhost:3000",
        "ftp://host",
        "http://",
        "",
        "http://host:port",
        "http://user:secret@host",
        "http://user:secret@host:port",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(call: Caller, url: str) -> None:
    with pytest.raises(ValueError, match="address") as raised:
        call(url, "is_ready")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [{"api_key": "se\ncret"}, {"api_key": " "}, {"api_key": "sécret"}, {"call": {"request_id": "se\ncret"}}],
)
def test_what_no_header_can_carry_is_refused_and_not_shown(
    script: Script, call: Caller, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="no HTTP header can carry") as raised:
        call(script.url, "predict_text", "a", **options)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("options", [{"attempts": 0}, {"first_wait_s": -1}, {"longest_wait_s": float("nan")}])
def test_retries_refuse_what_means_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        Retries(**options)


@given(st.integers(1, 10**6), st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000))
def test_waits_stay_within_the_back_off(
    failures: int, first_wait_s: float, longest_wait_s: float, asked_s: float
) -> None:
    wait_s = Retries(first_wait_s=first_wait_s, longest_wait_s=longest_wait_s).wait_s(failures, asked_s)
    ceiling_s = min(longest_wait_s, first_wait_s * 2.0 ** min(failures - 1, 62))
    assert asked_s <= wait_s <= asked_s + ceiling_s


@given(st.integers(1, 20))
def test_waits_are_spread_over_the_whole_back_off(failures: int) -> None:
    retries = Retries(first_wait_s=1, longest_wait_s=8)
    waits = [retries.wait_s(failures) / min(8, 2 ** (failures - 1)) for _ in range(200)]
    assert min(waits) < 0.2
    assert max(waits) > 0.8


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
def test_headers_that_mean_nothing_are_ignored(value: str) -> None:
    response = httpx.Response(
        503, headers=[(b"Retry-After", value.encode("latin-1")), (b"Server-Timing", value.encode("latin-1"))]
    )
    assert retry_after_s(response) >= 0
    assert all(isinstance(duration, float) for duration in server_ms(response).values())


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [("3", 3), ("-3", 0), ("inf", 0), ("nan", 0), ("Mon, 01 Jan 2024 00:00:00 GMT", 0), ("soon", 0), ("", 0)],
)
def test_retry_after_s_reads_seconds(value: str, expected_s: float) -> None:
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": value})) == expected_s


def test_retry_after_s_reads_a_date() -> None:
    response = httpx.Response(503, headers={"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    assert 90 < retry_after_s(response) <= 100


@pytest.mark.parametrize("kind", [RequestRefusedError, ServiceUnavailableError, UnexpectedAnswerError])
def test_errors_survive_a_process_pool(kind: type[ClientError]) -> None:
    carried = pickle.loads(pickle.dumps(kind("code", "message", 400, "id")))
    assert (type(carried), str(carried), carried.status) == (
        kind,
        "message (HTTP 400, code, request id)",
        400,
    )


def test_the_client_imports_nothing_of_the_service() -> None:
    others = ("numpy", "onnxruntime", "bentoml", "starlette", "PIL", "tokenizers", "torch", "pipeline")
    code = (
        "import sys, serving.client; from serving.model.inputs.registry import find_kind, OWN; "
        "[find_kind(own.name) for own in OWN]; "
        f"print([name for name in {others} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_client_says_how_to_install_httpx_when_it_is_missing() -> None:
    code = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda n, *a: None if n == 'httpx' else find(n, *a); import serving.client"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "pip install 'graft-ml[client]'" in done.stderr
