"""Requests that are cancelled, as a time limit outside of the application does.

Nothing of them stays behind.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import gzip
import io
import itertools
import json
import logging
import random
import re
import socket
import sys
import threading
import time
import types
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette

from serving.model.timings import Timings
from serving.server.app.build import frame
from serving.server.app.components import Components, open_components
from serving.server.app.table import list_endpoints
from serving.server.engine.admission import Admission
from serving.server.http.limits import BodyLimitMiddleware
from serving.server.settings import Settings
from tests.conftest import free_port, make_picture, serving

PICTURE = make_picture("bars", 970)
PART = b'--x\r\ncontent-disposition: form-data; name="%b"; filename="x"\r\n\r\n%b\r\n'
INFER = {
    "inputs": [{"name": "image", "shape": [3], "datatype": "BYTES", "parameters": {"content_type": "base64"}}]
}
INFER["inputs"][0]["data"] = [base64.b64encode(PICTURE).decode()] * 3
MOST_BYTES = 400_000
CANCELS = 10_000
NEVER = sys.maxsize


@dataclass(frozen=True, eq=False)
class Asked:
    """A request, and the status of its answer when nobody cancels it."""

    path: str
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    parts: int = 4
    leaves: bool = False  # its client leaves before the last part

    def scope(self) -> dict[str, Any]:
        length = {} if "transfer-encoding" in self.headers else {"content-length": str(len(self.body))}
        headers = [(name.encode(), value.encode()) for name, value in (length | self.headers).items()]
        shared = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "root_path": "",
        }
        server = {
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 3000),
            "query_string": b"",
            "raw_path": self.path.encode(),
        }
        return shared | server | {"path": self.path, "headers": headers, "state": {}}

    @functools.cached_property
    def messages(self) -> list[dict[str, Any]]:
        size = -(-len(self.body) // self.parts)
        pieces = [self.body[start : start + size] for start in range(0, len(self.body), size)]
        last = len(pieces) - 1
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": at < last} for at, piece in enumerate(pieces)
        ]
        return messages[:-1] if self.leaves else messages


FORM = {"content-type": "multipart/form-data; boundary=x"}
CHUNKED = {"transfer-encoding": "chunked"}
ASKED = {
    "raw": Asked("/predict", PICTURE),
    "form": Asked("/predict", PART % (b"image", PICTURE) + b"--x--\r\n", headers=FORM),
    "batch": Asked("/predict_batch", PART % (b"images", PICTURE) * 5 + b"--x--\r\n", headers=FORM),
    "infer": Asked("/v2/models/tiny/infer", json.dumps(INFER).encode()),
    "packed": Asked("/predict", gzip.compress(PICTURE), headers={"content-encoding": "gzip"}),
    "declared too large": Asked("/predict", bytes(MOST_BYTES + 1), 413),
    "found too large": Asked("/predict", bytes(MOST_BYTES + 1), 413, headers=CHUNKED),
    "unpacked too large": Asked(
        "/predict", gzip.compress(bytes(MOST_BYTES + 1)), 413, headers={"content-encoding": "gzip"}
    ),
    "no picture": Asked("/predict", b"x" * 1000, 400),
    "unauthorized": Asked("/predict", PICTURE, 401, headers={"host": "elsewhere"}),
    "unauthorized, large": Asked("/predict", bytes(2_000_000), 401, headers={"host": "elsewhere"}, parts=20),
    "nowhere": Asked("/nowhere", PICTURE, 404),
    "nowhere, for long": Asked("/nowhere", PICTURE, 404, headers=CHUNKED, parts=20),
    "left": Asked("/predict", PICTURE, 499, leaves=True),
}


class Wire:
    """The server's side of a request: every receive and send takes some turns of the event loop."""

    def __init__(self, asked: Asked, turns: int = 1) -> None:
        self._messages = iter(asked.messages)
        self._turns = turns
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await self._block()
        return next(self._messages, {"type": "http.disconnect"})

    async def send(self, message: dict[str, Any]) -> None:
        await self._block()
        self.sent.append(message)

    async def _block(self) -> None:
        for _ in range(self._turns):
            await asyncio.sleep(0)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


@types.coroutine
def suspending(
    inner: Coroutine[Any, Any, None], at: int, act: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Run a coroutine, and act when it suspends for that time, counted from 1."""
    error: BaseException | None = None
    for count in itertools.count(1):
        try:
            awaited = inner.throw(error) if error else inner.send(None)
        except StopIteration:
            return
        if count == at:
            act()
        try:
            error = None
            yield awaited
        except BaseException as thrown:
            error = thrown


class Rig:
    """The application, driven without a server, and everything in it that counts."""

    def __init__(self, parts: Components) -> None:
        self.parts = parts
        self.app: Starlette = frame(parts, list_endpoints(parts))
        self.asked = 0
        self.cancelled = 0

    async def ask(
        self, asked: Asked, cancel_at: int = NEVER, turns: int = 1, delay: int = 0
    ) -> tuple[bool, int | None]:
        """Ask, and cancel at an await or some turns later.

        Returns whether that came before the end, and the status.
        """
        wire, loop, is_cancelled = Wire(asked, turns), asyncio.get_running_loop(), False

        def cancel(left: int = delay) -> None:
            nonlocal is_cancelled
            if left and not task.done():
                loop.call_soon(cancel, left - 1)
            else:
                is_cancelled = task.cancel()

        async def answer() -> None:
            await suspending(self.app(asked.scope(), wire.receive, wire.send), cancel_at, cancel)

        self.asked += 1
        task = asyncio.create_task(answer())
        with suppress(asyncio.CancelledError):
            await task
        self.cancelled += is_cancelled
        return is_cancelled, wire.status

    @property
    def buffered(self) -> int:
        layer: Any = self.app.middleware_stack
        while not isinstance(layer, BodyLimitMiddleware):
            layer = getattr(layer, "app", None) or layer._app
        return layer._buffered.bytes

    def noted(self) -> int:
        """Number of requests in the metrics."""
        counts = re.findall(
            r"^graft_requests_total\{.*\} (.*)$", self.parts.metrics.render().decode(), re.MULTILINE
        )
        return int(sum(map(float, counts)))

    async def require_nothing_left(self, tasks: set[asyncio.Task[Any]]) -> None:
        engine = self.parts.engine
        assert (self.buffered, engine.admission.admitted, engine.admission.waiting) == (0, 0, 0)
        await self._require_idle_batcher()
        all_free = threading.Barrier(engine.admission.threads, timeout=5)
        await asyncio.gather(
            *(
                engine.admission.run(all_free.wait, Timings(), engine.patience())
                for _ in range(all_free.parties)
            )
        )
        assert asyncio.all_tasks() == tasks
        assert self.noted() == self.asked
        for asked in (ASKED["raw"], ASKED["batch"]):
            assert await self.ask(asked) == (False, 200)

    async def _require_idle_batcher(self) -> None:
        """What was in a batch when its request was cancelled may still run."""
        batcher = self.parts.engine.batcher
        assert not batcher._waiting
        if batcher._busy:
            await asyncio.wait_for(batcher._busy, 1)


@asynccontextmanager
async def rig(bundle: Path, *, accelerated: bool = False) -> AsyncIterator[Rig]:
    parts = open_components(
        Settings(bundle=bundle, watch_s=3600, max_body_bytes=MOST_BYTES, max_queue=1000, deadline_s=60)
    )
    rig = Rig(parts)
    async with rig.app.router.lifespan_context(rig.app):
        if accelerated:
            predictor = parts.live.predictor
            on_gpu = predictor.artifact.model_copy(update={"runtime": "onnxruntime-cuda"})
            predictor.scorer.artifact = on_gpu
        yield rig


async def cancel_everywhere(rig: Rig, asked: Asked, turns: int = 1, delay: int = 0) -> int:
    """Cancel at the first await, at the second, and so on, until the request comes to its end.

    Returns the number of awaits.
    """
    for cancel_at in itertools.count(1):
        is_cancelled, status = await rig.ask(asked, cancel_at, turns, delay)
        if not is_cancelled:
            assert status == asked.status
            return cancel_at - 1
    raise AssertionError


@pytest.mark.parametrize("accelerated", [False, True], ids=["cpu", "accelerator"])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_nothing_is_left_of_a_request_wherever_it_is_cancelled(
    tiny_run: Path, asked: Asked, accelerated: bool
) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle", accelerated=accelerated) as made:
            tasks = asyncio.all_tasks()
            for turns, delay in itertools.product((1, 2), (0, 1, 3)):
                await cancel_everywhere(made, asked, turns, delay)
            assert made.cancelled > 10
            await made.require_nothing_left(tasks)

    asyncio.run(work())


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(ASKED.values())), st.integers(1, 40), st.integers(1, 3), st.integers(0, 9)
        ),
        min_size=1,
        max_size=24,
    ),
    st.booleans(),
)
def test_nothing_is_left_of_requests_that_are_cancelled_among_others(
    tiny_run: Path, drawn: list[tuple[Asked, int, int, int]], accelerated: bool
) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle", accelerated=accelerated) as made:
            tasks = asyncio.all_tasks()
            answers = await asyncio.gather(*(made.ask(*each) for each in drawn))
            assert all(
                is_cancelled or status == each[0].status
                for each, (is_cancelled, status) in zip(drawn, answers, strict=True)
            )
            await made.require_nothing_left(tasks)

    asyncio.run(work())


def test_nothing_is_left_of_ten_thousand_cancelled_requests(tiny_run: Path) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle") as made:
            tasks, chance, predictor = asyncio.all_tasks(), random.Random(0), made.parts.live.predictor
            predict, answer = predictor.predict, predictor.predict(PICTURE)
            # The model itself would take most of the time.
            predictor.predict = lambda data, timings: answer if data == PICTURE else predict(data, timings)
            awaits = [(asked, await cancel_everywhere(made, asked)) for asked in ASKED.values()]
            while made.cancelled < CANCELS:
                chosen = chance.choices(awaits, k=64)
                await asyncio.gather(
                    *(
                        made.ask(asked, chance.randint(1, most), delay=chance.randint(0, 2))
                        for asked, most in chosen
                    )
                )
            await made.require_nothing_left(tasks)

    asyncio.run(work())


async def drive(rig: Rig, asked: Asked, *, reads: bool) -> None:
    """Ask, and cancel once nothing goes on.

    The client says no more and stays, or does not read its answer.
    """
    messages, stuck = iter(asked.messages), asyncio.Event()

    async def receive() -> dict[str, Any]:
        return next(messages, None) or await stay()

    async def send(_: dict[str, Any]) -> None:
        if not reads:
            await stay()

    async def stay() -> NoReturn:
        stuck.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(rig.app(asked.scope(), receive, send))
    await asyncio.wait_for(stuck.wait(), 10)
    assert task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize(
    ("asked", "reads", "status", "code"),
    [
        (Asked("/predict", PICTURE, leaves=True), True, 499, "cancelled"),
        (ASKED["raw"], False, 200, None),
        (ASKED["nowhere"], False, 404, "unknown_path"),
        (Asked("/nowhere", bytes(2_000_000), leaves=True), True, 404, "unknown_path"),
        (Asked("/nowhere", PICTURE, leaves=True), True, 499, "cancelled"),
    ],
    ids=[
        "while its body arrives",
        "while its answer is sent",
        "while its refusal is sent",
        "while it lingers",
        "while it is read away",
    ],
)
def test_a_cancelled_request_is_noted_once(
    tiny_run: Path, caplog: pytest.LogCaptureFixture, asked: Asked, reads: bool, status: int, code: str | None
) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle") as made:
            tasks, made.asked = asyncio.all_tasks(), 1
            with caplog.at_level(logging.INFO, "graft.access"):
                await drive(made, asked, reads=reads)
            assert_noted(made, caplog, status, code)
            await made.require_nothing_left(tasks)

    asyncio.run(work())


def test_a_client_that_leaves_is_noted_as_before(tiny_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle") as made:
            with caplog.at_level(logging.INFO, "graft.access"):
                assert await made.ask(ASKED["left"]) == (False, 499)
            assert_noted(made, caplog, 499, "disconnected")

    asyncio.run(work())


def assert_noted(rig: Rig, caplog: pytest.LogCaptureFixture, status: int, code: str | None) -> None:
    """One line, one request in the metrics, and one refusal where it has a code."""
    (record,) = [record for record in caplog.records if record.name == "graft.access"]
    line, metrics = vars(record)["fields"], rig.parts.metrics.render().decode()
    assert (line["status"], line.get("code")) == (status, code)
    assert f'graft_requests_total{{route="{line["route"]}",status="{status}"}} 1.0' in metrics
    assert re.findall(r'graft_refusals_total\{code="(.*)"\} 1.0', metrics) == ([code] if code else [])


class Held:
    """Work that a thread does until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go, self.runs = threading.Event(), threading.Event(), 0

    def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        assert self.go.wait(10)
        return self.runs


def test_work_that_no_thread_has_started_is_forgotten_and_work_that_runs_is_waited_for() -> None:
    async def work() -> None:
        admission, first, second = Admission(1, 10, 60), Held(), Held()
        until, forgotten = time.perf_counter() + 60, weakref.ref(second)
        running = asyncio.create_task(admission.run(first, Timings(), until))
        await asyncio.to_thread(first.begun.wait, 10)
        waiting = asyncio.create_task(admission.run(second, Timings(), until))
        await asyncio.sleep(0.01)
        waiting.cancel()
        running.cancel()
        await asyncio.wait([waiting, running], timeout=0.05)
        assert (waiting.done(), running.done()) == (True, False)
        del second, waiting
        gc.collect()
        assert forgotten() is None, "the input is held, though nobody counts it"
        first.go.set()
        await asyncio.wait([running], timeout=5)
        assert running.cancelled()
        assert await admission.run(lambda: 7, Timings(), until) == 7
        admission.close()

    asyncio.run(work())


def test_a_batch_counts_until_the_last_of_its_items_has_ended(tiny_run: Path) -> None:
    async def work() -> None:
        async with rig(tiny_run / "bundle") as made:
            engine, held, lanes = made.parts.engine, Held(), made.parts.engine.admission.threads
            predictor = types.SimpleNamespace(
                artifact=made.parts.live.predictor.artifact,
                runs_together=False,
                predict=lambda *_: held(),
            )
            work = engine.predict_many(predictor, [b""] * 50, Timings())  # type: ignore[arg-type]
            task = asyncio.create_task(work)
            await asyncio.to_thread(held.begun.wait, 10)
            task.cancel()
            await asyncio.wait([task], timeout=0.05)
            assert (task.done(), engine.admission.admitted) == (False, 1)
            held.go.set()
            await asyncio.wait([task], timeout=5)
            assert (task.cancelled(), engine.admission.admitted) == (True, 0)
            assert held.runs <= lanes

    asyncio.run(work())


@pytest.mark.slow
def test_bentomls_time_limit_takes_nothing_from_those_who_come_after(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = json.loads((tiny_run / "package" / "bento.json").read_text())["bento"]
    (tmp_path / "bentoml.yaml").write_text(json.dumps({"services": {"tiny": {"traffic": {"timeout": 1}}}}))
    monkeypatch.setenv("BENTOML_CONFIG", str(tmp_path / "bentoml.yaml"))
    monkeypatch.setenv("GRAFT_MAX_BUFFERED_BYTES", "2000000")
    port, large = free_port(), make_large_picture()
    with serving([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], port) as url:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(trickle, [port] * 4)) == [b"HTTP/1.1 504"] * 4
        answers = [
            httpx.post(f"{url}/predict", content=picture).status_code for picture in (PICTURE, large) * 3
        ]
        metrics = httpx.get(f"{url}/metrics").text
    assert answers == [200] * 6
    assert 'graft_requests_total{route="predict",status="499"} 4.0' in metrics
    assert 'graft_refusals_total{code="cancelled"} 4.0' in metrics


def make_large_picture() -> bytes:
    """A picture that arrives in several parts, for which there is no room beside what trickled in."""
    buffer = io.BytesIO()
    Image.effect_noise((900, 900), 100).save(buffer, "PNG")
    assert 500_000 < len(buffer.getvalue()) < 1_500_000
    return buffer.getvalue()


def trickle(port: int) -> bytes:
    """How an answer begins to a body of which a third comes, and then no more.

    Four such bodies fill the memory for bodies.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1500000\r\n\r\n" + bytes(480_000)
        )
        return raw.recv(4096)[:12]
