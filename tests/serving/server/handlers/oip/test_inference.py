"""The Open Inference Protocol: its wire format, and a real service asked by Triton's own client."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema_rs
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tritonclient.http._utils import _get_inference_request
from tritonclient.utils import InferenceServerException

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.kind import IMAGE
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.inputs.kind import MAX_ITEMS
from serving.model.predictor import Predictor, load_predictor
from serving.server.handlers.oip import codec
from serving.server.handlers.oip.codec import Output, decode_request, encode_response
from serving.server.handlers.oip.inference import choose_outputs
from serving.server.handlers.oip.messages import InferRequest, InferResponse
from serving.server.handlers.oip.tensors import Tensor, join, read_array, read_items
from tests.conftest import SIZE_PX, free_port, make_picture, serving

PICTURES = [make_picture("bars", 950), make_picture("plain", 951), make_picture("bars", 952)]
TEXTS = ["the day was so good", "bad \U0001f600 rain"]
LONG = "good day " * 30


def as_bytes(items: list[bytes]) -> np.ndarray:
    found = np.empty(len(items), np.object_)
    found[:] = items
    return found


def make_input(
    name: str, array: np.ndarray, *, binary: bool = True, **parameters: object
) -> triton.InferInput:
    tensor = triton.InferInput(
        name, array.shape, "UINT8" if array.dtype == np.uint8 else "BYTES"
    ).set_data_from_numpy(array, binary)
    tensor._parameters.update(parameters)
    return tensor


def encode(
    tensor: triton.InferInput, outputs: list[triton.InferRequestedOutput] | None = None
) -> tuple[bytes, str | None]:
    body, length = _get_inference_request([tensor], "7", outputs, 0, False, False, 0, None, None)
    return body, None if length is None else str(length)


def read_pixels(tensor: Tensor) -> np.ndarray:
    """Pictures of 2 x 3 pixels."""
    form = IMAGE.tensors[1]
    return read_array(tensor, form, form.item_shape(ImageInputSpec(height=2, width=3)))


def decode(body: bytes, header_length: str | None) -> Tensor:
    """The one tensor of a request."""
    (tensor,) = decode_request(body, header_length)[1]
    return tensor


def read(body: bytes, header_length: str | None) -> None:
    """All of the wire format, as the service reads it."""
    request, tensors = decode_request(body, header_length)
    choose_outputs(request)
    for tensor in tensors:
        read_pixels(tensor) if tensor.datatype == "UINT8" else read_items(tensor)


def assert_read_or_refused(body: bytes, header_length: str | None) -> None:
    refusal = None
    try:
        read(body, header_length)
    except InputRefusedError as error:
        refusal = error
    assert refusal is None or 400 <= refusal.status < 500
    assert refusal is None or refusal.message.encode()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_read_items_gives_what_tritonclient_sent_when_binary(items: list[bytes]) -> None:
    request, (tensor,) = decode_request(*encode(make_input("image", as_bytes(items))))
    assert read_items(tensor) == items
    assert (request.id, request.parameters.binary_data_output) == ("7", True)
    assert bytes(tensor.data) == join(items)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8), st.booleans())
def test_read_items_gives_what_tritonclient_sent_when_json(texts: list[str], is_column: bool) -> None:
    items = [text.encode() for text in texts]
    array = as_bytes(items).reshape(-1, 1) if is_column else as_bytes(items)
    assert read_items(decode(*encode(make_input("text", array, binary=False)))) == items


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.booleans())
def test_read_items_decodes_base64_when_the_parameter_says_so(items: list[bytes], binary: bool) -> None:
    array = as_bytes([base64.b64encode(item) for item in items])
    assert (
        read_items(decode(*encode(make_input("image", array, binary=binary, content_type="base64")))) == items
    )


@given(st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_read_pixels_gives_what_tritonclient_sent(count: int, binary: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 2, 3, 3), np.uint8)
    assert np.array_equal(read_pixels(decode(*encode(make_input("image", pixels, binary=binary)))), pixels)


def test_read_pixels_takes_nested_data() -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
    assert np.array_equal(read_pixels(Tensor("image", "UINT8", pixels.shape, pixels.tolist())), pixels)


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(st.text(), min_size=1),
    st.booleans(),
)
def test_tritonclient_reads_what_encode_response_wrote(
    rows: list[list[float]], labels: list[str], binary: bool
) -> None:
    array = np.array(rows, np.float32)
    outputs = [
        Output("probabilities", array.shape, array, binary),
        Output("label", (len(labels),), labels, binary),
    ]
    response = InferResponse(id="7", model_name="pets", model_version="1", parameters={}, outputs=())
    body, length = encode_response(response, outputs)
    found = triton.InferResult.from_response_body(body, header_length=length)
    assert np.array_equal(found.as_numpy("probabilities"), array)
    assert [item.decode() if isinstance(item, bytes) else item for item in found.as_numpy("label")] == labels
    assert found.get_response()["id"] == "7"


BODIES = [
    encode(make_input("image", as_bytes([b"abc", b""]))),
    encode(
        make_input("image", np.zeros((1, 2, 3, 3), np.uint8)),
        [triton.InferRequestedOutput("probabilities", class_count=2)],
    ),
    encode(
        make_input("text", as_bytes([b"a", b"b"]), binary=False),
        [triton.InferRequestedOutput("label", binary_data=False)],
    ),
]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", 2**64, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300)
def test_reading_refuses_or_accepts_when_bytes_are_changed(data: st.DataObject) -> None:
    body, length = data.draw(st.sampled_from(BODIES))
    start, end = sorted((data.draw(st.integers(0, len(body))), data.draw(st.integers(0, len(body)))))
    changed = body[:start] + data.draw(st.binary(max_size=5)) + body[end:]
    assert_read_or_refused(
        changed, data.draw(st.sampled_from([length, None, str(len(changed)), "-1", "", "1e9", "\xb2"]))
    )


@given(
    st.sampled_from(["id", "inputs", "outputs", "parameters"]),
    st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    JSON_VALUES,
)
@settings(max_examples=300)
@example("outputs", "parameters", {"classification": True})
@example("inputs", "parameters", {"content_type": {}})
@example("inputs", "parameters", {"binary_data_size": 2**70})
def test_reading_refuses_or_accepts_when_values_are_changed(part: str, key: str, value: object) -> None:
    for whole in (True, False):
        document = {
            "id": "7",
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}],
            "outputs": [{"name": "label"}],
        }
        if whole or part in {"id", "parameters"}:
            document[part] = value
        else:
            document[part][0][key] = value
        assert_read_or_refused(json.dumps(document).encode(), None)


def test_reading_refuses_when_json_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MOST_JSON_VALUES", 10)
    with pytest.raises(InputRefusedError, match="values"):
        decode_request(b"[" + b"0," * 11 + b"0]", None)
    monkeypatch.setattr(codec, "MOST_JSON_BYTES", 10)
    with pytest.raises(InputRefusedError, match="bytes"):
        decode_request(b'{"id": "123"}', None)


def test_reading_refuses_when_json_is_deep() -> None:
    with pytest.raises(InputRefusedError, match="deeply"):
        decode_request(b"[" * 100_000, None)


@pytest.fixture(scope="module")
def url(tiny_run: Path) -> Iterator[str]:
    port = free_port()
    with serving(
        [sys.executable, "-m", "pipeline.cli", "serve", str(tiny_run), "--port", str(port)], port
    ) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://"), concurrency=4) as client:
        yield client


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    return load_predictor(tiny_run / "bundle")


def expect(predictor: Predictor, items: list[bytes]) -> np.ndarray:
    return np.array([list(predictor.predict(item).probabilities.values()) for item in items], np.float32)


@pytest.mark.slow
def test_service_tells_of_itself(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    version = predictor.version
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", version)
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("tiny", "0")
    found = client.get_model_metadata("tiny", version)
    assert found == client.get_model_metadata("tiny")
    assert (found["name"], found["versions"], found["platform"]) == (
        "tiny",
        [version],
        predictor.artifact.runtime,
    )
    assert found["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["shape"] for output in found["outputs"]] == [[-1, 2], [-1]]


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False])
def test_infer_answers_like_the_predictor(
    client: triton.InferenceServerClient, predictor: Predictor, binary: bool
) -> None:
    tensor = make_input("image", as_bytes(PICTURES))
    if not binary:
        tensor = make_input(
            "image",
            as_bytes([base64.b64encode(item) for item in PICTURES]),
            binary=False,
            content_type="base64",
        )
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")]
    result = client.infer(
        "tiny", [tensor], outputs=outputs, request_id="my id", model_version=predictor.version
    )
    assert np.array_equal(result.as_numpy("probabilities"), expect(predictor, PICTURES))
    labels = [predictor.predict(item).label for item in PICTURES]
    assert result.as_numpy("label").tolist() == [label.encode() if binary else label for label in labels]
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == (
        "my id",
        "tiny",
        predictor.version,
    )
    assert response["parameters"] == {"artifact": predictor.artifact.name}


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False])
def test_infer_takes_pixels_of_the_models_size(
    client: triton.InferenceServerClient, predictor: Predictor, binary: bool
) -> None:
    pixels = np.stack([predictor.decode(item).array for item in PICTURES])
    result = client.infer("tiny", [make_input("image", pixels, binary=binary)])
    assert np.array_equal(result.as_numpy("probabilities"), expect(predictor, PICTURES))


@pytest.mark.slow
def test_infer_ranks_classes_when_asked(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    for count in (1, 2, 99):
        outputs = [triton.InferRequestedOutput("probabilities", class_count=count)]
        found = client.infer("tiny", [make_input("image", as_bytes(PICTURES))], outputs=outputs).as_numpy(
            "probabilities"
        )
        assert found.shape == (3, min(count, 2))
        for row, probabilities in zip(found, expect(predictor, PICTURES), strict=True):
            best = np.argsort(-probabilities)[: min(count, 2)]
            assert [item.decode() for item in row] == [
                f"{probabilities[i]:f}:{i}:{predictor.manifest.labels[i]}" for i in best
            ]


@pytest.mark.slow
def test_async_infer_answers_all(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    pending = [
        client.async_infer("tiny", [make_input("image", as_bytes([picture]))]) for picture in PICTURES * 4
    ]
    found = np.concatenate([one.get_result().as_numpy("probabilities") for one in pending])
    assert np.array_equal(found, np.tile(expect(predictor, PICTURES), (4, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "version", "tensor", "options", "message"),
    [
        ("other", "", as_bytes(PICTURES), {}, "There is no model `other` here, but `tiny`"),
        ("tiny", "0", as_bytes(PICTURES), {}, "There is no version `0`"),
        ("tiny", "", as_bytes([PICTURES[0], b"no picture"]), {}, "Element 1 of `image`"),
        ("tiny", "", as_bytes([b"x"] * (MAX_ITEMS + 1)), {}, "257"),
        ("tiny", "", as_bytes([]), {}, "Send at least one item"),
        ("tiny", "", np.zeros((1, 8, 8, 3), np.uint8), {}, f"[n, {SIZE_PX}, {SIZE_PX}, 3]"),
        (
            "tiny",
            "",
            as_bytes(PICTURES),
            {"request_compression_algorithm": "deflate"},
            "packed with gzip, not as deflate",
        ),
        (
            "tiny",
            "",
            as_bytes(PICTURES),
            {"outputs": [triton.InferRequestedOutput("logits")]},
            "no output `logits`",
        ),
        (
            "tiny",
            "",
            as_bytes(PICTURES),
            {"outputs": [triton.InferRequestedOutput("label", class_count=1)]},
            "ranks `probabilities` only",
        ),
    ],
)
def test_refusals_reach_the_client(
    client: triton.InferenceServerClient,
    model: str,
    version: str,
    tensor: np.ndarray,
    options: dict,
    message: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [make_input("image", tensor)], model_version=version, **options)
    assert message in caught.value.message()
    assert caught.value.status()[0] == "4"


VALID = {
    "name": "image",
    "shape": [1],
    "datatype": "BYTES",
    "parameters": {"content_type": "base64"},
    "data": [base64.b64encode(PICTURES[0]).decode()],
}


WITH_NULL = VALID | {
    "parameters": VALID["parameters"]
    | {"binary_data_size": None, "shared_memory_region": None, "other": None}
}
NO_PARAMETERS = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["x"], "parameters": None}
NULLS: dict[str, dict[str, object]] = {
    "of the request": {"inputs": [VALID], "id": None, "parameters": None, "outputs": None, "other": None},
    "of its parameters": {"inputs": [VALID], "parameters": {"binary_data_output": None, "other": None}},
    "of an input's parameters": {"inputs": [WITH_NULL]},
    "an input's parameters": {"inputs": [NO_PARAMETERS]},
    "an output's parameters": {"inputs": [VALID], "outputs": [{"name": "label", "parameters": None}]},
    "of an output's parameters": {
        "inputs": [VALID],
        "outputs": [
            {"name": "label", "parameters": {"binary_data": None, "classification": None, "other": None}}
        ],
    },
}


def without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NULLS)
def test_null_is_an_absent_key(name: str) -> None:
    body, short = json.dumps(NULLS[name]).encode(), json.dumps(without_nulls(NULLS[name])).encode()
    assert body != short
    assert decode_request(body, None) == decode_request(short, None)
    jsonschema_rs.Draft202012Validator(InferRequest.model_json_schema()).validate(NULLS[name])


@pytest.mark.parametrize("key", ["name", "shape", "datatype", "data"])
def test_null_is_refused_where_a_key_is_required(key: str) -> None:
    with pytest.raises(InputRefusedError) as refused:
        decode_request(json.dumps({"inputs": [VALID | {key: None}]}).encode(), None)
    assert refused.value.code == "bad_request"


def test_null_is_no_tensor_and_no_output() -> None:
    for document in (None, {"inputs": None}, {"inputs": [None]}, {"inputs": [VALID], "outputs": [None]}):
        with pytest.raises(InputRefusedError):
            decode_request(json.dumps(document).encode(), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (json.dumps({"inputs": [VALID]}), 200, None),
        *(
            (json.dumps(document), 200, None)
            for name, document in NULLS.items()
            if name != "an input's parameters"
        ),
        (json.dumps(NULLS["an input's parameters"]), 400, "bad_tensor"),
        (json.dumps({"inputs": [VALID, VALID]}), 400, "wrong_inputs"),
        (json.dumps({"inputs": []}), 400, "wrong_inputs"),
        (json.dumps({}), 400, "bad_request"),
        (json.dumps({"inputs": [VALID | {"name": "\ud800"}]}), 400, "bad_request"),
        (json.dumps({"inputs": [VALID | {"name": "text"}]}), 400, "wrong_inputs"),
        (json.dumps({"inputs": [VALID | {"datatype": "FP32"}]}), 400, "bad_tensor"),
        (json.dumps({"inputs": [VALID | {"parameters": {}}]}), 400, "bad_tensor"),
        (json.dumps({"inputs": [VALID | {"shape": [-1]}]}), 400, "bad_request"),
        (json.dumps({"inputs": [VALID | {"shape": [2]}]}), 400, "bad_tensor"),
        (json.dumps({"inputs": [VALID | {"shape": [2**63]}]}), 400, "bad_request"),
        (json.dumps({"inputs": [VALID | {"shape": [2**62]}]}), 413, "too_many_items"),
        (
            json.dumps({"inputs": [VALID | {"parameters": {"shared_memory_region": "x"}}]}),
            400,
            "no_shared_memory",
        ),
        ('{"inputs": [NaN]}', 400, "broken_json"),
        ("[" * 200_000, 400, "broken_json"),
        (b"\xff\xfe", 400, "not_utf8"),
        (b"", 400, "broken_json"),
    ],
)
def test_infer_refuses_in_the_protocols_shape(
    url: str, body: str | bytes, status: int, code: str | None
) -> None:
    answer = httpx.post(f"{url}/v2/models/tiny/infer", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json().get("code") == code
    assert "server-timing" in answer.headers if status == 200 else set(answer.json()) == {"error", "code"}
    assert "x-request-id" in answer.headers


@pytest.mark.slow
def test_unknown_paths_and_methods_are_refused_in_the_shape_of_their_place(url: str) -> None:
    assert httpx.get(f"{url}/v2/nothing").json()["code"] == "unknown_path"
    assert httpx.get(f"{url}/v2/models/tiny/infer").json()["code"] == "wrong_method"
    assert httpx.get(f"{url}/v22").json()["error"]["code"] == "unknown_path"


@pytest.mark.slow
def test_predictions_are_counted(url: str, client: triton.InferenceServerClient) -> None:
    client.infer("tiny", [make_input("image", as_bytes(PICTURES))])
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    assert any(line.startswith('graft_requests_total{route="v2_infer",status="200"}') for line in lines)
    assert any(line.startswith('graft_predictions_total{label="bars"}') for line in lines)


@pytest.mark.slow
def test_infer_answers_texts(text_run: Path) -> None:
    port, predictor = free_port(), load_predictor(text_run / "bundle")
    items = [text.encode() for text in TEXTS]
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(text_run), "--port", str(port)]
    with serving(command, port) as url, triton.InferenceServerClient(url.removeprefix("http://")) as client:
        for binary in (True, False):
            result = client.infer("tiny-text", [make_input("text", as_bytes(items), binary=binary)])
            assert np.array_equal(result.as_numpy("probabilities"), expect(predictor, items))
        cut = client.infer(
            "tiny-text", [make_input("text", as_bytes([*items, LONG.encode()]))]
        ).get_response()
        assert cut["parameters"]["truncated_items"] == 1
        assert client.get_model_metadata("tiny-text")["inputs"][0]["name"] == "text"
        with pytest.raises(InferenceServerException, match="must be BYTES"):
            client.infer("tiny-text", [make_input("text", np.zeros((1, 2), np.uint8))])
        with pytest.raises(InferenceServerException, match="Element 1 of `text`: The text is not UTF-8"):
            client.infer("tiny-text", [make_input("text", as_bytes([b"good", b"\xff"]))])
