"""Calls of the protocol's methods, by gRPC's own client."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from serving.server.grpc import server
from serving.server.grpc.call import MOST_OPEN_CALLS, Call
from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from serving.server.grpc.service import InferenceService
from serving.server.handlers.oip.tensors import join
from tests.conftest import make_picture
from tests.serving.server.grpc.rig import CHECK, INFER, OPTIONS, PICTURE, SERVICE, WATCH, Rig, calling, infer

KEY = "a-key-of-some-length"
Input = pb.ModelInferRequest.InferInputTensor
Wanted = pb.ModelInferRequest.InferRequestedOutputTensor


def carry_out(bundle: Path, work: Callable[[Rig], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with calling(bundle, **settings) as rig:
            await asyncio.wait_for(work(rig), 30)

    asyncio.run(run())


def test_it_says_the_same_of_server_and_model_as_over_http(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        name = rig.parts.live.predictor.manifest.name
        assert (await rig.ask("ServerLive")).live
        assert (await rig.ask("ServerReady")).ready
        version = rig.parts.live.predictor.version
        for asked in ("", version):
            assert (await rig.ask("ModelReady", pb.ModelReadyRequest(name=name, version=asked))).ready
        server, model = (
            await rig.ask("ServerMetadata"),
            await rig.ask("ModelMetadata", pb.ModelMetadataRequest(name=name)),
        )
        async with rig.http as http:
            by_http = (await http.get("/v2")).json()
            assert by_http == {
                "name": server.name,
                "version": server.version,
                "extensions": [*server.extensions],
            }
            by_http = (await http.get(f"/v2/models/{name}")).json()
        assert (by_http["name"], by_http["versions"]) == (model.name, [*model.versions])
        assert by_http["platform"] == model.platform
        for side in ("inputs", "outputs"):
            tensors = [
                {"name": each.name, "datatype": each.datatype, "shape": [*each.shape]}
                for each in getattr(model, side)
            ]
            assert by_http[side] == tensors

    carry_out(tiny_run / "bundle", work)


def test_it_answers_with_the_probabilities_that_http_gives(tiny_run: Path) -> None:
    items = [make_picture("bars", 972), make_picture("plain", 973)]

    async def work(rig: Rig) -> None:
        answer = await rig.ask("ModelInfer", rig.infer(items, id="seven"))
        async with rig.http as http:
            answers = [(await http.post("/predict", content=item)).json() for item in items]
        labels = rig.parts.live.predictor.manifest.labels
        rows = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)
        wanted = np.array([[each["probabilities"][label] for label in labels] for each in answers])
        np.testing.assert_allclose(rows, wanted, atol=1e-6)
        assert answer.raw_output_contents[1] == join(each["label"].encode() for each in answers)
        assert (answer.id, answer.model_name) == ("seven", answers[0]["model"]["name"])
        assert answer.model_version == answers[0]["model"]["version"]
        assert answer.parameters["artifact"].string_param == answers[0]["model"]["artifact"]
        assert [(each.name, each.datatype) for each in answer.outputs] == [
            ("probabilities", "FP32"),
            ("label", "BYTES"),
        ]

    carry_out(tiny_run / "bundle", work)


def test_bytes_and_numbers_may_come_in_fields_of_their_type(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        raw = await rig.ask("ModelInfer", rig.infer())
        contents = pb.InferTensorContents(bytes_contents=[PICTURE])
        typed = Input(name="image", datatype="BYTES", shape=[1, 1], contents=contents)
        answer = await rig.ask("ModelInfer", rig.infer(inputs=[typed], raw_input_contents=[]))
        assert answer.raw_output_contents == raw.raw_output_contents

        pixels = rig.parts.live.predictor.timed_decode(PICTURE, _timings()).array
        given = Input(name="image", datatype="UINT8", shape=[1, *pixels.shape])
        as_bytes = rig.infer(inputs=[given], raw_input_contents=[pixels.tobytes()])
        given.contents.uint_contents.extend(pixels.ravel().tolist())
        as_numbers = rig.infer(inputs=[given], raw_input_contents=[])
        given.contents.uint_contents[7] = 256
        refused = await rig.refusal("ModelInfer", rig.infer(inputs=[given], raw_input_contents=[]))
        assert refused[:2] == ("INVALID_ARGUMENT", "bad_tensor")
        assert "UINT8 does not hold" in refused[2]
        given.contents.uint_contents.pop()
        refused = await rig.refusal("ModelInfer", rig.infer(inputs=[given], raw_input_contents=[]))
        assert "elements, but" in refused[2]
        for request in (as_bytes, as_numbers):
            answer = await rig.ask("ModelInfer", request)
            assert answer.raw_output_contents == raw.raw_output_contents

    carry_out(tiny_run / "bundle", work)


def _timings() -> Any:
    from serving.model.timings import Timings

    return Timings()


def test_outputs_are_chosen_and_ranked_as_over_http(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        wanted = Wanted(name="probabilities", parameters={"classification": pb.InferParameter(int64_param=1)})
        answer = await rig.ask("ModelInfer", rig.infer(outputs=[wanted]))
        (output,), (raw,) = answer.outputs, answer.raw_output_contents
        assert (output.datatype, [*output.shape]) == ("BYTES", [1, 1])
        probability, index, label = raw[4:].decode().split(":")
        assert rig.parts.live.predictor.manifest.labels[int(index)] == label
        assert 0.5 <= float(probability) <= 1

    carry_out(tiny_run / "bundle", work)


def test_texts_are_answered_as_over_http(text_run: Path) -> None:
    async def work(rig: Rig) -> None:
        contents = pb.InferTensorContents(bytes_contents=[b"so good", "schön".encode()])
        given = Input(name="text", datatype="BYTES", shape=[2], contents=contents)
        answer = await rig.ask("ModelInfer", rig.infer(inputs=[given], raw_input_contents=[]))
        async with rig.http as http:
            by_http = (await http.post("/predict_batch", json={"texts": ["so good", "schön"]})).json()
        labels = [each["label"].encode() for each in by_http["predictions"]]
        assert answer.raw_output_contents[1] == join(labels)

    carry_out(text_run / "bundle", work)


def text_parameter(value: str) -> pb.InferParameter:
    return pb.InferParameter(string_param=value)


TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1]}
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "another model": ({"model_name": "nobody"}, "NOT_FOUND", "unknown_model", "`nobody`"),
    "another version": ({"model_version": "7"}, "NOT_FOUND", "unknown_version", "`7`"),
    "no picture": ({"raw_input_contents": [join([b"x"])]}, "INVALID_ARGUMENT", "", "Element 0"),
    "no input": ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT", "wrong_inputs", "none"),
    "bytes that end early": ({"raw_input_contents": [b"\1"]}, "INVALID_ARGUMENT", "bad_tensor", "end before"),
    "no data": ({"raw_input_contents": []}, "INVALID_ARGUMENT", "bad_tensor", "end before"),
    "too few raw": ({"inputs": [Input(**TENSOR)] * 2}, "INVALID_ARGUMENT", "bad_request", "2 inputs"),
    "another datatype": (
        {"inputs": [Input(**TENSOR | {"datatype": "FP16"})]}, "INVALID_ARGUMENT", "bad_tensor", "datatype",
    ),
    "no datatype": (
        {"inputs": [Input(**TENSOR | {"datatype": "bytes"},
                          contents=pb.InferTensorContents(bytes_contents=[b"x"]))], "raw_input_contents": []},
        "INVALID_ARGUMENT", "bad_tensor", "its datatype must be BYTES or UINT8",
    ),
    "a datatype without a field": (
        {"inputs": [Input(**TENSOR | {"datatype": "FP16"},
                          contents=pb.InferTensorContents(fp32_contents=[1]))], "raw_input_contents": []},
        "INVALID_ARGUMENT", "bad_tensor", "FP16 comes in `raw_input_contents`",
    ),
    "a negative shape": (
        {"inputs": [Input(**TENSOR | {"shape": [-1]})]}, "INVALID_ARGUMENT", "bad_request", "inputs[0].shape",
    ),
    "both forms": (
        {"inputs": [Input(**TENSOR, contents=pb.InferTensorContents(bytes_contents=[b"x"]))]},
        "INVALID_ARGUMENT", "bad_request", "not in both",
    ),
    "the wrong field": (
        {"inputs": [Input(**TENSOR, contents=pb.InferTensorContents(int_contents=[1]))],
         "raw_input_contents": []},
        "INVALID_ARGUMENT", "bad_tensor", "`bytes_contents`",
    ),
    "a number that is too large": (
        {"inputs": [Input(name="image", datatype="UINT8", shape=[1, 1, 1, 3],
                          contents=pb.InferTensorContents(uint_contents=[1, 2, 300]))],
         "raw_input_contents": []},
        "INVALID_ARGUMENT", "bad_tensor", "shape",
    ),
    "shared memory": (
        {"inputs": [Input(**TENSOR, parameters={"shared_memory_region": text_parameter("x")})]},
        "INVALID_ARGUMENT", "no_shared_memory", "Shared memory",
    ),
    "an unknown output": ({"outputs": [Wanted(name="x")]}, "INVALID_ARGUMENT", "unknown_output", "`x`"),
    "too many items": (
        {"inputs": [Input(**TENSOR | {"shape": [257]})], "raw_input_contents": [join([b"x"] * 257)]},
        "RESOURCE_EXHAUSTED", "too_many_items", "256",
    ),
    "too many outputs": (
        {"outputs": [Wanted(name=f"{index}") for index in range(65)]},
        "INVALID_ARGUMENT", "bad_request", "outputs",
    ),
    "too many fields": (
        {"inputs": [Input()] * 5000}, "RESOURCE_EXHAUSTED", "too_many_fields", "raw_input_contents",
    ),
}  # fmt: skip


def test_what_the_protocol_does_not_allow_is_refused_with_its_reason(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        for case, (fields, status, code, text) in REFUSED.items():
            refused = await rig.refusal("ModelInfer", rig.infer(**fields))
            assert refused[0] == status, (case, refused)
            assert code in {refused[1], ""}, (case, refused)
            assert text in refused[2], (case, refused)
        refused = await rig.refusal_of(INFER, b"\xff\xff")
        assert refused[:2] == ("INVALID_ARGUMENT", "bad_request")
        refused = await rig.refusal_of(f"/{SERVICE}/ModelStreamInfer", b"")
        assert refused[:2] == ("UNIMPLEMENTED", "unknown_method")
        for name in ("ModelReady", "ModelMetadata"):
            request = getattr(pb, f"{name}Request")(name="nobody")
            assert (await rig.refusal(name, request))[:2] == ("NOT_FOUND", "unknown_model")
        assert await rig.check() == "SERVING"

    carry_out(tiny_run / "bundle", work)


def test_a_fault_is_told_without_its_trace(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: InferenceService, __: Call) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(InferenceService, "infer", fail)

    async def work(rig: Rig) -> None:
        status, code, text = await rig.refusal("ModelInfer", metadata=(("x-request-id", "mine"),))
        assert (status, code) == ("INTERNAL", "internal")
        assert "secret" not in text
        assert "Traceback" not in text
        assert rig.count("grpc_infer", 500) == 1

    carry_out(tiny_run / "bundle", work)
    assert "request mine failed" in caplog.text


def test_keys_are_needed_where_http_needs_them(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        given = rig.infer()
        for metadata in ((), (("authorization", "Bearer wrong-key-of-some-length"),), (("x-api-key", ""),)):
            refused = await rig.refusal("ModelInfer", given, metadata=metadata)
            assert refused[:2] == ("UNAUTHENTICATED", "unauthorized"), metadata
        for metadata in ((("authorization", f"Bearer {KEY}"),), (("x-api-key", KEY),)):
            assert (await rig.ask("ModelInfer", given, metadata=metadata)).outputs
        assert (await rig.ask("ServerReady")).ready
        assert await rig.check() == "SERVING"
        assert (await rig.refusal("ServerMetadata"))[0] == "UNAUTHENTICATED"

    carry_out(tiny_run / "bundle", work, keys=[KEY], protect_all=True)


def test_a_proxy_is_told_by_its_headers_where_there_are_no_keys(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        shown = (("x-forwarded-for", "203.0.113.9"),)
        assert (await rig.refusal("ModelInfer", rig.infer(), metadata=shown))[0] == "UNAUTHENTICATED"
        assert (await rig.refusal_of(CHECK, b"", metadata=shown))[:2] == ("UNAVAILABLE", "no_keys")

    carry_out(tiny_run / "bundle", work)


def test_a_message_that_is_too_large_is_refused_and_a_packed_one_is_never_unpacked(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        too_large = rig.infer([bytes(100_001)])
        status, _, text = await rig.refusal("ModelInfer", too_large)
        assert status == "RESOURCE_EXHAUSTED"
        assert "larger than max" in text
        assert rig.count("grpc_infer", 400) == 1
        assert (await rig.ask("ModelInfer", rig.infer())).outputs
        packed = await rig.refusal("ModelInfer", rig.infer(), compression=grpc.Compression.Gzip)
        assert packed[0] == "UNIMPLEMENTED"
        assert rig.parts.buffered.bytes == 0

    carry_out(tiny_run / "bundle", work, max_body_bytes=100_000)


def test_messages_that_fill_the_memory_for_bodies_are_refused(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.parts.buffered.bytes = rig.parts.max_buffered_bytes
        refused = await rig.refusal("ModelInfer", rig.infer())
        assert refused[:2] == ("UNAVAILABLE", "overloaded")
        rig.parts.buffered.bytes = 0
        assert (await rig.ask("ModelInfer", rig.infer())).outputs
        assert rig.parts.buffered.bytes == 0

    carry_out(tiny_run / "bundle", work)


def test_a_message_that_does_not_come_is_not_waited_for_for_ever(tiny_run: Path) -> None:
    async def nothing() -> Any:
        await asyncio.sleep(20)
        yield b""

    async def work(rig: Rig) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.channel.stream_unary(INFER)(nothing())
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "has not arrived" in (caught.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.channel.stream_unary(INFER)(iter([]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    carry_out(tiny_run / "bundle", work, body_timeout_s=0.3)


class Held:
    """Predictions that wait until they are let go."""

    def __init__(self, rig: Rig) -> None:
        predictor = rig.parts.live.predictor
        self.go, self.begun, self.runs = threading.Event(), threading.Event(), 0
        self._predict = predictor.predict
        predictor.predict = self.predict  # type: ignore[method-assign]

    def predict(self, data: bytes, timings: Any) -> Any:
        self.runs += 1
        self.begun.set()
        assert self.go.wait(20)
        return self._predict(data, timings)


async def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        held, admission = Held(rig), rig.parts.engine.admission
        calls = [asyncio.ensure_future(rig.ask("ModelInfer", rig.infer())) for _ in range(admission.threads)]
        await until(lambda: admission.admitted == admission.threads)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.channel.unary_unary(INFER)(rig.infer().SerializeToString())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(caught.value.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "1000"
        async with rig.http as http:  # both faces share the queue
            assert (await http.post("/predict", content=PICTURE)).status_code == 503
        held.go.set()
        assert all(answer.outputs for answer in await asyncio.gather(*calls))
        assert (admission.admitted, rig.count("grpc_infer", 503)) == (0, 1)

    carry_out(tiny_run / "bundle", work, max_queue=0)


@pytest.mark.parametrize("leaves", ["cancelled", "deadline"])
def test_a_caller_who_leaves_frees_the_place_and_what_has_not_begun_is_forgotten(
    tiny_run: Path, leaves: str
) -> None:
    async def work(rig: Rig) -> None:
        held, admission = Held(rig), rig.parts.engine.admission
        running = [
            asyncio.ensure_future(rig.ask("ModelInfer", rig.infer())) for _ in range(admission.threads)
        ]
        await until(lambda: held.runs == admission.threads)
        timeout = 0.3 if leaves == "deadline" else None
        call = rig.channel.unary_unary(INFER)(rig.infer().SerializeToString(), timeout=timeout)
        waiting = asyncio.ensure_future(_code_of(call))
        await until(lambda: admission.admitted == admission.threads + 1)
        if leaves == "cancelled":
            call.cancel()
        assert await waiting == {"cancelled": "CANCELLED", "deadline": "DEADLINE_EXCEEDED"}[leaves]
        await until(lambda: admission.admitted == admission.threads)
        await until(lambda: rig.count("grpc_infer", 499) == 1)
        held.go.set()
        await asyncio.gather(*running)
        assert held.runs == admission.threads, "what nobody waited for was run"
        assert (admission.admitted, rig.parts.buffered.bytes) == (0, 0)

    carry_out(tiny_run / "bundle", work)


async def _code_of(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    except asyncio.CancelledError:
        return (await call.code()).name
    return "OK"


def test_callers_without_a_key_do_not_take_the_places_of_others(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        watches = [rig.channel.unary_stream(WATCH)(b"") for _ in range(MOST_OPEN_CALLS)]
        assert {await read_health(watch) for watch in watches} == {"SERVING"}
        assert (await rig.refusal_of(CHECK, b""))[:2] == ("UNAVAILABLE", "overloaded")
        key = (("x-api-key", KEY),)
        assert (await rig.ask("ModelInfer", rig.infer(), metadata=key)).outputs
        for watch in watches:
            watch.cancel()
        await until(lambda: rig.count("grpc_health_watch", 499) == MOST_OPEN_CALLS)
        assert await rig.check() == "SERVING"

    carry_out(tiny_run / "bundle", work, keys=[KEY])


def test_a_caller_who_leaves_before_the_refusal_is_no_fault(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose(*_: Any) -> None:
        raise grpc.aio.InternalError("the call has ended")

    monkeypatch.setattr("serving.server.grpc.frame.refuse", lose)

    async def work(rig: Rig) -> None:
        assert (await rig.refusal("ModelInfer", rig.infer(model_name="nobody")))[0] == "UNKNOWN"
        assert rig.count("grpc_infer", 499) == 1

    carry_out(tiny_run / "bundle", work)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_calls_are_counted_and_logged_as_requests_are(
    tiny_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(rig: Rig) -> None:
        with caplog.at_level(logging.INFO, "graft.access"):
            call = rig.channel.unary_unary(INFER)(
                rig.infer().SerializeToString(), metadata=(("x-request-id", "mine"),)
            )
            await call
            trailing = dict(await call.trailing_metadata())
            await rig.refusal("ModelInfer", rig.infer(model_name="nobody"))
            await rig.refusal_of("/x/Y" + "y" * 500, b"")
        assert trailing["x-request-id"] == "mine"
        assert "session;dur=" in trailing["server-timing"]
        assert [rig.count(*each) for each in (("grpc_infer", 200), ("grpc_infer", 404))] == [1, 1]
        assert rig.count("grpc_none", 501) == 1
        metrics = rig.parts.metrics.render().decode()
        assert "graft_confidence_count 1.0" in metrics
        assert 'graft_refusals_total{code="unknown_model"} 1.0' in metrics

    carry_out(tiny_run / "bundle", work)
    lines = [vars(each)["fields"] for each in caplog.records if each.name == "graft.access"]
    assert [line["grpc_status"] for line in lines] == [0, 5, 12]
    first = lines[0]
    assert (first["request_id"], first["path"], first["client"]) == ("mine", INFER, "127.0.0.1")
    assert first["bytes_in"] > len(PICTURE)
    assert first["bytes_out"] > 0
    assert first["session_ms"] > 0
    assert len(lines[2]["path"]) <= 200


def test_calls_are_traced_under_their_callers_spans(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    kept, trace = InMemorySpanExporter(), "0af7651916cd43dd8448eb211c80319c"

    async def work(rig: Rig) -> None:
        assert rig.parts.traces
        rig.parts.traces._provider._active_span_processor._span_processors = (SimpleSpanProcessor(kept),)
        metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
        await rig.ask("ModelInfer", rig.infer(), metadata=metadata)
        await rig.refusal("ModelInfer", rig.infer(model_name="nobody"))
        await rig.refusal_of("/x/Y", b"")
        await rig.ask("ServerReady")

    carry_out(tiny_run / "bundle", work, trace=True)
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert {*spans} == {INFER[1:], "decode", "session", "queue", "grpc"}
    first, second = [span for span in kept.get_finished_spans() if span.name == INFER[1:]]
    assert f"{first.context.trace_id:032x}" == trace
    assert f"{first.parent.span_id:016x}" == "b7ad6b7169203331"
    assert first.attributes["rpc.method"] == "ModelInfer"
    assert [each.attributes["rpc.grpc.status_code"] for each in (first, second)] == [0, 5]
    assert second.attributes["graft.code"] == "unknown_model"


def test_a_new_bundle_takes_over_and_without_one_nothing_is_ready(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"

    async def work(rig: Rig) -> None:
        assert not (await rig.ask("ServerReady")).ready
        assert not (await rig.ask("ModelReady", pb.ModelReadyRequest(name="tiny"))).ready
        assert (await rig.ask("ServerLive")).live
        assert (await rig.refusal("ModelInfer", infer("tiny")))[0] == "UNAVAILABLE"
        assert (await rig.check(), await rig.check(SERVICE)) == ("NOT_SERVING", "NOT_SERVING")
        watch = rig.channel.unary_stream(WATCH)(b"")
        assert (await read_health(watch)) == "NOT_SERVING"
        shutil.copytree(tiny_run / "bundle", tmp_path / "new")
        (tmp_path / "new").rename(folder)
        assert (await read_health(watch)) == "SERVING"
        watch.cancel()
        name = rig.parts.live.predictor.manifest.name
        assert (await rig.check(name), await rig.check(SERVICE)) == ("SERVING", "SERVING")
        assert (await rig.ask("ModelInfer", rig.infer())).outputs
        asked = health_pb2.HealthCheckRequest(service="nobody").SerializeToString()
        assert (await rig.refusal_of(CHECK, asked))[:2] == ("NOT_FOUND", "unknown_service")
        assert await read_health(rig.channel.unary_stream(WATCH)(asked)) == "SERVICE_UNKNOWN"

    carry_out(folder, work)


def test_a_swap_fails_no_call(tiny_run: Path, tmp_path: Path) -> None:
    link, next_link = tmp_path / "current", tmp_path / "next"
    for name in ("one", "two"):
        shutil.copytree(tiny_run / "bundle", tmp_path / name)
    link.symlink_to("one")
    next_link.symlink_to("two")

    async def work(rig: Rig) -> None:
        first, answered = rig.parts.live.predictor, 0
        next_link.rename(link)
        while rig.parts.live.predictor is first:
            answers = await asyncio.gather(*(rig.ask("ModelInfer", rig.infer()) for _ in range(4)))
            answered += sum(len(answer.outputs) == 2 for answer in answers)
        assert (await rig.ask("ModelInfer", rig.infer())).outputs
        assert answered == rig.count("grpc_infer", 200) - 1 > 0

    carry_out(link, work)


async def read_health(watch: Any) -> str:
    answer = health_pb2.HealthCheckResponse.FromString(await asyncio.wait_for(watch.read(), 10))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_a_caller_who_keeps_a_connection_alive_is_not_cut_off(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUESTIONS_APART_MS", 100)
    alive = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_permit_without_calls", 1)]
    alive += [("grpc.http2.max_pings_without_data", 0), *OPTIONS]

    async def work(rig: Rig) -> None:
        async with grpc.aio.insecure_channel(rig.address, options=alive) as channel:
            watch = channel.unary_stream(WATCH)(b"")
            assert await read_health(watch) == "SERVING"
            with pytest.raises(TimeoutError):  # the third question, after 3 s, would be one too many
                await asyncio.wait_for(watch.read(), 3.5)
            await channel.unary_unary(CHECK)(b"")

    carry_out(tiny_run / "bundle", work)


def test_at_the_end_calls_come_to_theirs_and_those_who_watch_are_told(tiny_run: Path) -> None:
    async def work(rig: Rig) -> None:
        held = Held(rig)
        call = asyncio.ensure_future(rig.ask("ModelInfer", rig.infer()))
        watch = rig.channel.unary_stream(WATCH)(b"")
        assert await read_health(watch) == "SERVING"
        await until(held.begun.is_set)
        began, ending = time.monotonic(), asyncio.ensure_future(rig.end())
        assert await read_health(watch) == "NOT_SERVING"
        assert await watch.read() is grpc.aio.EOF
        held.go.set()
        assert (await call).outputs
        await ending
        assert time.monotonic() - began < 4, "who watches must not hold the end up"
        assert (await rig.refusal("ServerLive"))[0] == "UNAVAILABLE"

    carry_out(tiny_run / "bundle", work, watch_s=60)
