"""Bytes of any kind: none is a fault of the service, none stops it, and none takes memory for good."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.model.errors import InputRefusedError
from serving.server.grpc.codec import decode_request
from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from serving.server.grpc.wire import MOST_FIELDS, require_few_fields
from tests.serving.server.grpc.rig import INFER, calling

EXPECTED = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
TEXTS = st.sampled_from(
    ["image", "label", "probabilities", "BYTES", "UINT8", "FP32", "content_type", "base64", "classification"]
)
PARAMETERS = st.dictionaries(
    TEXTS | st.text(max_size=5),
    st.one_of(
        st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(pb.InferParameter, string_param=TEXTS),
        st.builds(pb.InferParameter, bool_param=st.booleans()),
        st.builds(pb.InferParameter, double_param=st.floats()),
        st.builds(pb.InferParameter),
    ),
    max_size=3,
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    bytes_contents=st.lists(st.binary(max_size=20), max_size=3),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
)
INPUTS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=TEXTS,
    datatype=TEXTS | st.text(max_size=5),
    shape=st.lists(st.integers(-2, 4) | st.integers(-(2**63), 2**63 - 1), max_size=5),
    parameters=PARAMETERS,
    contents=st.none() | CONTENTS,
)
OUTPUTS = st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=TEXTS, parameters=PARAMETERS)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("tiny"),
    id=st.text(max_size=5),
    parameters=PARAMETERS,
    inputs=st.lists(INPUTS, max_size=3),
    outputs=st.lists(OUTPUTS, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=50), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS)
def test_any_request_is_read_or_refused(request: pb.ModelInferRequest) -> None:
    raw = request.SerializeToString()
    require_few_fields(raw)
    with suppress(InputRefusedError):
        read, tensors = decode_request(pb.ModelInferRequest.FromString(raw))
        assert [each.name for each in read.inputs] == [each.name for each in tensors]


def test_any_bytes_are_refused_by_a_service_that_goes_on(tiny_run: Path) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=200) | REQUESTS.map(lambda request: request.SerializeToString()))
    def ask(raw: bytes) -> None:
        outcome = loop.run_until_complete(asyncio.wait_for(answer(raw), 10))
        assert outcome in EXPECTED, outcome

    async def answer(raw: bytes) -> str:
        return (await rig.refusal_of(INFER, raw))[0]

    async def check(garbage: bytes) -> Any:
        refused = await asyncio.wait_for(rig.refusal_of(INFER, garbage), 10)
        whole = await rig.ask("ModelInfer", rig.infer())
        return refused[0], whole.outputs, rig.parts.buffered.bytes

    with asyncio.Runner() as runner:
        loop, service = runner.get_loop(), calling(tiny_run / "bundle")
        rig = runner.run(service.__aenter__())
        try:
            ask()
            noise = random.Random(0).randbytes(1_000_000)
            for garbage in (noise, rig.infer([noise]).SerializeToString(), b"\x3a" + b"\xff" * 1_000_000):
                status, outputs, held = runner.run(check(garbage))
                assert status in EXPECTED
                assert outputs
                assert held == 0
        finally:
            runner.run(service.__aexit__(None, None, None))


EMPTY = {
    "inputs": b"\x2a\x00",
    "outputs": b"\x32\x00",
    "parameters": b"\x22\x00",
    "raw inputs": b"\x3a\x00",
    "unknown fields": b"\x78\x00",
}


@pytest.mark.parametrize("part", EMPTY.values(), ids=EMPTY)
def test_a_message_of_very_many_fields_is_refused_before_objects_are_made_of_them(part: bytes) -> None:
    require_few_fields(part * MOST_FIELDS)
    with pytest.raises(InputRefusedError, match="more than 4,096 fields"):
        require_few_fields(part * (MOST_FIELDS + 1))


def test_fields_within_an_input_count_and_groups_are_refused() -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", shape=[1] * 10_000)
    tensor.contents.uint_contents.extend([1] * 10_000)  # packed, which is one field each
    require_few_fields(pb.ModelInferRequest(inputs=[tensor]).SerializeToString())
    tensor.contents.bytes_contents.extend([b""] * MOST_FIELDS)
    with pytest.raises(InputRefusedError, match="fields"):
        require_few_fields(pb.ModelInferRequest(inputs=[tensor]).SerializeToString())
    with pytest.raises(InputRefusedError, match="unknown kind"):
        require_few_fields(b"\x0b" + EMPTY["inputs"] * 10 + b"\x0c")
