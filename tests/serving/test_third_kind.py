"""A kind of input that no file of the project knows: installed beside it, served, and asked in every way."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import schemathesis
import tritonclient.http as triton
from onnx import TensorProto, helper
from playwright.sync_api import Browser, expect

from serving.client import AsyncClient, Client, ErrorBody
from serving.model.errors import BundleError
from serving.model.files import hash_file
from serving.model.inputs import registry
from serving.model.inputs.kind import ArrayTensor
from serving.model.inputs.registry import find_kind, list_kinds
from serving.model.manifest import hash_labels
from serving.model.receipt import Receipt
from serving.model.records import Machine, Measured
from serving.model.runtimes.session import InUse
from tests.conftest import ROOT, free_port, serving
from tests.kinds.rows import served as module

LABELS = ("down", "flat", "up")
WEIGHTS = np.array([[-2.0, 0.0, 2.0], [-1.0, 0.5, 1.0], [0.0, 0.0, 0.5]], np.float32)
ROWS = [[1.0, 0.5, -1.0], [-1.0, 0.0, 0.25], [0.0, 0.0, 0.0]]


def install(folder: Path, **points: str) -> Path:
    """The package as pip leaves it: a module, and metadata with its entry points."""
    info = folder / "graft_rows-0.1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(module.__file__), folder / "graft_rows.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: graft-rows\nVersion: 0.1\n")
    lines = [f"{name} = {value}" for name, value in (points or {"row": "graft_rows:ROW"}).items()]
    (info / "entry_points.txt").write_text("\n".join(["[graft.inputs]", *lines]))
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def installed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has the package too, as a client's would."""
    monkeypatch.syspath_prepend(packages)
    find_kind.cache_clear()
    yield
    find_kind.cache_clear()
    sys.modules.pop("graft_rows", None)


def make_bundle(folder: Path) -> Path:
    """A bundle of rows: a softmax over a product, and a receipt."""
    folder.mkdir()
    nodes = [
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
        for name in ("row", "probabilities")
    ]
    weights = onnx.numpy_helper.from_array(WEIGHTS, "weights")
    graph = helper.make_graph(nodes, "rows", ends[:1], ends[1:], [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        folder / "model.onnx",
    )
    (folder / "reference.npz").write_bytes(b"")
    proven = {"artifact": "onnx-fp32", "runtime": "onnxruntime-cpu", "precision": "fp32"}
    sha256 = hash_file(folder / "model.onnx")
    receipt = folder / "receipt.json"
    receipt.write_bytes(
        Receipt(
            **proven,
            in_use=InUse(runtime="onnxruntime", provider="CPUExecutionProvider", nodes={}),
            machine=Machine(system="Linux", cpu="a CPU", cpus=1),
            versions={},
            artifact_sha256=sha256,
            reference_sha256=hash_file(folder / "reference.npz"),
            labels_sha256=hash_labels(LABELS),
            checkpoint_sha256="0" * 64,
            data_sha256="0" * 64,
            measured=Measured(samples=1, wrong_labels=0),
            limits={},
            checks=(),
            passed=True,
        ).to_bytes()
    )
    artifact = {
        "name": "onnx-fp32",
        "file": "model.onnx",
        "sha256": sha256,
        "runtime": "onnxruntime-cpu",
        "precision": "fp32",
    }
    hashes = dict.fromkeys(("recipe_sha256", "data_sha256", "weights_sha256", "checkpoint_sha256"), "0" * 64)
    manifest = {
        "schema_version": 2,
        "name": "trends",
        "version": "1",
        "labels": LABELS,
        "labels_sha256": hash_labels(LABELS),
        "input": {"modality": "row", "columns": 3},
        "artifacts": [
            artifact | {"receipt": {"file": "receipt.json", "sha256": hash_file(receipt), "passed": True}}
        ],
        "reference": {"file": "reference.npz", "sha256": hash_file(folder / "reference.npz")},
        "lineage": hashes | {"versions": {}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("rows") / "bundle")


@pytest.fixture(scope="module")
def url(bundle: Path, packages: Path) -> Iterator[str]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{packages}{os.pathsep}{ROOT}")
        with serving([sys.executable, "-m", "serving", str(bundle), "--port", str(port)], port) as address:
            yield address


def expected(rows: list[list[float]]) -> np.ndarray:
    logits = np.array(rows, np.float32) @ WEIGHTS
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.slow
def test_predict_takes_rows(url: str) -> None:
    one = httpx.post(f"{url}/predict", json={"row": ROWS[0]}).json()
    assert list(one["probabilities"].values()) == pytest.approx(expected(ROWS[:1])[0])
    many = httpx.post(f"{url}/predict_batch", json={"rows": [*ROWS, [1.0]]}).json()["predictions"]
    assert [answer["label"] for answer in many[:3]] == [
        LABELS[index] for index in expected(ROWS).argmax(axis=1)
    ]
    assert many[3]["error"]["code"] == "not_a_row"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"row": "1, 2"}}, 400, "wrong_json_type"),
        ({"json": {"rows": ROWS}}, 400, "missing_field"),
        ({"json": {"row": ["a", "b", "c"]}}, 400, "not_a_row"),
        (
            {"content": b'{"row": [NaN, 1, 1]}', "headers": {"content-type": "application/json"}},
            400,
            "not_a_row",
        ),
        (
            {"content": b'{"row": [1e999, 1, 1]}', "headers": {"content-type": "application/json"}},
            400,
            "not_a_row",
        ),
        ({"content": b"1,2,3", "headers": {"content-type": "text/plain"}}, 415, "wrong_type"),
        (
            {
                "content": b'{"row": [' + b"1," * 600_000 + b"1]}",
                "headers": {"content-type": "application/json"},
            },
            413,
            "body_too_large",
        ),
    ],
)
def test_predict_refuses_what_is_no_row(
    url: str, request_: dict[str, object], status: int, code: str
) -> None:
    answer = httpx.post(f"{url}/predict", **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_clients_send_rows(url: str) -> None:
    with Client(url) as client:
        assert client.predict("row", ROWS[0], top_k=1).label == "up"
        answers = client.predict_many("row", [*ROWS, []])
    assert isinstance(answers[3], ErrorBody)

    async def ask() -> list[str]:
        async with AsyncClient(url) as client:
            return [answer.label for answer in await client.predict_many("row", ROWS)]

    assert asyncio.run(ask()) == [answer.label for answer in answers[:3]]


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_rows_as_numbers(url: str, binary: bool) -> None:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.get_model_metadata("trends")["inputs"] == [
            {"name": "row", "datatype": "FP32", "shape": [-1, 3]}
        ]
        array = np.array(ROWS, np.float32)
        tensor = triton.InferInput("row", array.shape, "FP32").set_data_from_numpy(array, binary)
        assert client.infer("trends", [tensor]).as_numpy("probabilities") == pytest.approx(expected(ROWS))
        wrong = triton.InferInput("row", (1, 2), "FP32").set_data_from_numpy(np.zeros((1, 2), np.float32))
        with pytest.raises(triton.InferenceServerException, match=r"must be \[n, 3\]: the numbers of a row"):
            client.infer("trends", [wrong])
        infinite = triton.InferInput("row", (1, 3), "FP32").set_data_from_numpy(
            np.array([[1, np.inf, 1]], np.float32)
        )
        with pytest.raises(triton.InferenceServerException, match="finite"):
            client.infer("trends", [infinite])


@pytest.mark.slow
def test_documentation_describes_rows(url: str) -> None:
    document = httpx.get(f"{url}/docs.json").json()
    schemathesis.openapi.from_dict(document).validate()
    for path in ("/predict", "/predict_batch", "/v2/models/{name}/infer"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = httpx.post(url + path.replace("{name}", "trends"), json=example)
        assert answer.status_code == 200, answer.text
    assert "Classify one row." in httpx.get(f"{url}/docs").text


@pytest.mark.slow
def test_page_takes_rows_as_json(url: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(url)
    expect(page.locator("#subject")).to_have_text("Give it a row of numbers.")
    page.get_by_label("Row").fill("[1, 2")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
    page.get_by_label("Row").fill(json.dumps(ROWS[0]))
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#label")).to_have_text("up")
    page.close()


def test_service_says_what_is_missing_when_the_package_is_not_there(bundle: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "serving", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 1
    assert "No installed package brings the kind of input `row`" in done.stderr
    assert "Known here: image, text" in done.stderr


@pytest.mark.usefixtures("installed")
def test_find_kind_finds_own_and_installed_kinds() -> None:
    assert list_kinds() == ["image", "text", "row"]
    assert (find_kind("row").noun, find_kind("image").noun) == ("row", "picture")


@pytest.mark.parametrize(
    ("points", "name", "message"),
    [
        (
            {"row": "graft_rows:RowInputSpec"},
            "row",
            "is not the kind of input `row`, but is a ModelMetaclass",
        ),
        ({"line": "graft_rows:ROW"}, "line", "is not the kind of input `line`, but is called `row`"),
        ({}, "column", "No installed package brings the kind of input `column`"),
        ({"row": "graft_rows:NOTHING"}, "row", "cannot be loaded from graft_rows:NOTHING"),
        ({"row": "this:s.no.such"}, "row", "cannot be loaded from this:s.no.such"),
        ({"row": "no_such_module:ROW"}, "row", "cannot be loaded from no_such_module:ROW"),
    ],
)
def test_find_kind_refuses_what_is_no_kind(
    points: dict[str, str], name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "packages", **points))
    find_kind.cache_clear()
    with pytest.raises(BundleError, match=message):
        find_kind(name)
    sys.modules.pop("graft_rows", None)


def test_find_kind_refuses_two_packages_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "a")
    install(tmp_path / "b", row="other_rows:ROW")
    shutil.move(tmp_path / "b" / "graft_rows-0.1.dist-info", tmp_path / "a" / "other_rows-0.1.dist-info")
    metadata = tmp_path / "a" / "other_rows-0.1.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("graft-rows", "other-rows"))
    monkeypatch.syspath_prepend(tmp_path / "a")
    find_kind.cache_clear()
    with pytest.raises(BundleError, match="Several installed packages bring the kind of input `row`"):
        find_kind("row")


def test_array_tensor_refuses_a_type_that_the_codec_does_not_know() -> None:
    with pytest.raises(ValueError, match="INT16"):
        ArrayTensor("INT16", lambda _: (1,), "numbers")


def test_no_package_replaces_an_own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "packages", image="graft_rows:ROW"))
    find_kind.cache_clear()
    assert find_kind("image") is registry.OWN[0].load()
