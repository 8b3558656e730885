from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.model.bundle import open_bundle
from serving.model.errors import BundleError
from serving.model.files import hash_file
from serving.model.manifest import hash_labels


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))


def edit(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(bundle: Path) -> BundleError:
    with pytest.raises(BundleError) as refused:
        open_bundle(bundle)
    return refused.value


@pytest.mark.slow
def test_open_bundle_returns_manifest_when_nothing_changed(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.manifest.labels == ("bars", "plain")
    assert opened.manifest.artifacts[0].receipt is not None
    assert opened.path_of(opened.manifest.artifacts[0]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "receipts/onnx-fp32.json"])
def test_open_bundle_refuses_when_one_byte_changed(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    error = refusal(bundle)
    assert error.code == "hash_mismatch"
    assert name in error.message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "receipts/onnx-fp32.json"])
def test_open_bundle_refuses_when_file_missing(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    error = refusal(bundle)
    assert error.code == "missing_file"
    assert name in error.message


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_open_bundle_refuses_when_schema_unknown(bundle: Path, version: object) -> None:
    edit(bundle, schema_version=version)
    assert refusal(bundle).code == "unknown_schema"


@pytest.mark.slow
@pytest.mark.parametrize("labels", [["plain", "bars"], ["bars"], ["bars", "plain", "more"]])
def test_open_bundle_refuses_when_labels_permuted_or_missing(bundle: Path, labels: list[str]) -> None:
    edit(bundle, labels=labels)
    assert refusal(bundle).code == "invalid_manifest"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", "..\\model.onnx"])
def test_open_bundle_refuses_when_path_leaves_the_bundle(bundle: Path, file: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["artifacts"][0]["file"] = file
    edit(bundle, **manifest)
    assert refusal(bundle).code == "invalid_manifest"


@pytest.mark.slow
def test_open_bundle_refuses_when_unproven(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    for receipt in (None, manifest["artifacts"][0]["receipt"] | {"passed": False}):
        manifest["artifacts"][0]["receipt"] = receipt
        edit(bundle, **manifest)
        assert refusal(bundle).code == "unproven"


@pytest.mark.slow
def test_open_bundle_refuses_when_the_receipt_is_of_another_file(bundle: Path) -> None:
    """A swapped model with its right hash in the manifest still lacks a proof."""
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["artifacts"][0]["sha256"] = hash_file(bundle / "model.onnx")
    edit(bundle, **manifest)
    error = refusal(bundle)
    assert error.code == "unproven"
    assert "another file" in error.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"runtime": "onnxruntime-cuda"}, {"precision": "fp16"}, {"name": "onnx-fp16"}]
)
def test_open_bundle_refuses_when_the_receipt_is_of_another_runtime(
    bundle: Path, change: dict[str, str]
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["artifacts"][0] |= change
    edit(bundle, **manifest)
    error = refusal(bundle)
    assert error.code == "unproven"
    assert "another runtime" in error.message


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff"])
def test_open_bundle_refuses_when_the_receipt_cannot_be_read(bundle: Path, content: bytes) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    receipt = manifest["artifacts"][0]["receipt"]
    (bundle / receipt["file"]).write_bytes(content)
    receipt["sha256"] = hash_file(bundle / receipt["file"])
    edit(bundle, **manifest)
    error = refusal(bundle)
    assert error.code == "unproven"
    assert "has a receipt that cannot be read" in error.message


@pytest.mark.slow
def test_bundle_takes_the_defaults_of_a_benchmark(bundle: Path) -> None:
    (bundle / "defaults.json").write_text(
        json.dumps({"artifact": "onnx-fp32", "threads": 2, "measured_on": "a CPU"})
    )
    opened = open_bundle(bundle)
    assert opened.defaults is not None
    assert (opened.artifact().name, opened.defaults.threads) == ("onnx-fp32", 2)
    (bundle / "defaults.json").write_text('{"artifact": "onnx-fp32"}')
    assert refusal(bundle).code == "invalid_defaults"


def test_open_bundle_refuses_when_manifest_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{")
    assert refusal(tmp_path).code == "invalid_manifest"


@contextmanager
def nobodys_rights() -> Iterator[None]:
    """Act as a user without rights, as the service in a container does; root may read everything."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65532)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "receipts", "defaults.json"])
def test_file_that_the_service_may_not_read_is_named_with_what_to_do(tiny_run: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        bundle = Path(shutil.copytree(tiny_run / "bundle", Path(place, "bundle")))
        (bundle / "defaults.json").write_text('{"artifact": "onnx-fp32", "threads": 1, "measured_on": "it"}')
        for path in bundle.rglob("*"):
            path.chmod(0o755)
        (bundle / name).chmod(0)
        with nobodys_rights():
            error = refusal(bundle)
        (bundle / name).chmod(0o755)
    assert error.code == "unreadable_file"
    assert f"/bundle/{name}" in error.message
    assert "chmod -R a+rX" in error.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    assert refusal(tmp_path).code == "unreadable_file"


def test_hash_labels_differs_when_order_differs() -> None:
    assert hash_labels(["a", "b"]) != hash_labels(["b", "a"])
    assert hash_labels(["a,b"]) != hash_labels(["a", "b"])
