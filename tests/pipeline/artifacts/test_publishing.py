"""The one door into a bundle: what is not proven does not pass, and the earlier bundle stays."""

from __future__ import annotations

import ast
import inspect
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifacts.publishing import (
    Contents,
    Proven,
    discard_unreadable_defaults,
    publish,
    publish_defaults,
)
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import BundleError
from serving.model.manifest import Defaults
from serving.model.predictor import load_predictor
from serving.model.receipt import read_receipt
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
DEFAULTS = Defaults(artifact="onnx-fp32", threads=2, measured_on="a CPU")


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Bundle:
    return open_bundle(Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle")))


def contents_of(bundle: Bundle) -> Contents:
    artifact = bundle.manifest.artifacts[0]
    proven = Proven(artifact, read_receipt(bundle.path_of(artifact.receipt)), bundle.folder)
    return Contents(bundle.manifest, [proven], {"reference.npz": bundle.folder / "reference.npz"})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_publish_writes_the_same_bundle_from_what_it_is_made_of(bundle: Bundle, tmp_path: Path) -> None:
    published = publish(contents_of(bundle), tmp_path / "again")
    assert files_of(published.folder) == files_of(bundle.folder)


def test_publish_refuses_an_artifact_that_failed_and_keeps_the_earlier_bundle(bundle: Bundle) -> None:
    contents, before = contents_of(bundle), files_of(bundle.folder)
    failed = contents.proven[0].receipt.model_copy(update={"passed": False})
    with pytest.raises(BundleError) as refused:
        publish(replace(contents, proven=[replace(contents.proven[0], receipt=failed)]), bundle.folder)
    assert refused.value.code == "unproven"
    assert files_of(bundle.folder) == before
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"], "nothing is left beside it"


def test_publish_refuses_a_file_that_is_not_the_proven_one(bundle: Bundle, tmp_path: Path) -> None:
    contents = contents_of(bundle)
    other = Path(shutil.copytree(bundle.folder, tmp_path / "other"))
    with (other / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError) as refused:
        publish(replace(contents, proven=[replace(contents.proven[0], folder=other)]), bundle.folder)
    assert refused.value.code == "hash_mismatch"


def test_defaults_of_a_benchmark_enter_by_the_same_door(bundle: Bundle) -> None:
    before = files_of(bundle.folder)
    assert publish_defaults(bundle, DEFAULTS).defaults == DEFAULTS
    after = files_of(bundle.folder)
    assert {name: after[name] for name in before} == before, "nothing else changes"
    unknown = DEFAULTS.model_copy(update={"artifact": "onnx-int8"})
    with pytest.raises(BundleError, match="which is not published"):
        publish_defaults(open_bundle(bundle.folder), unknown)
    assert files_of(bundle.folder) == after


def test_a_signature_goes_with_the_bundle_that_it_was_of_and_the_log_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    publish_defaults(bundle, Defaults(artifact="onnx-fp32", threads=1, measured_on="a CPU"))
    assert "signature" not in caplog.text
    (bundle.folder / "model.sig").write_text("a signature")
    published = publish_defaults(bundle, Defaults(artifact="onnx-fp32", threads=2, measured_on="a CPU"))
    assert not (published.folder / "model.sig").exists()
    assert f"its signature is gone. Sign it: graft sign {bundle.folder}" in caplog.text


def test_only_unreadable_defaults_are_discarded(bundle: Bundle) -> None:
    publish_defaults(bundle, DEFAULTS)
    discard_unreadable_defaults(bundle.folder)
    assert open_bundle(bundle.folder).defaults == DEFAULTS
    (bundle.folder / "defaults.json").write_text("{")
    discard_unreadable_defaults(bundle.folder)
    assert open_bundle(bundle.folder).defaults is None


def test_nothing_opens_what_is_not_proven() -> None:
    """A bundle and a predictor are opened by their folder, without a way to leave the proof out."""
    assert list(inspect.signature(open_bundle).parameters) == ["folder", "signed"]  # which asks for more
    names = {"folder", "artifact", "fallback", "threads", "trusted_keys"}
    assert set(inspect.signature(load_predictor).parameters) == names


def test_one_file_alone_writes_a_manifest() -> None:
    """Whoever writes into a bundle names the manifest's file, and so do those who look for one."""
    readers = {"pipeline/package/files.py", "pipeline/run/sign.py", "pipeline/signing/carried.py"}
    writers = {
        file.relative_to(ROOT).as_posix()
        for package in ("pipeline", "serving")
        for file in (ROOT / package).rglob("*.py")
        if "MANIFEST_FILE" in {n.id for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Name)}
    }
    assert writers == readers | {
        "pipeline/artifacts/publishing.py",
        "serving/model/manifest.py",
        "serving/model/bundle.py",
    }
