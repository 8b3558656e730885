"""What ``verify`` leaves: a bundle of what passed, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from pipeline.errors import GateFailedError
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from pipeline.verify.stage import verify
from serving.model.bundle import open_bundle
from serving.model.errors import ProviderError

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


def test_bundle_is_built_from_the_candidates_alone(run: RunFolder) -> None:
    before = {p.name: p.read_bytes() for p in run.bundle.rglob("*") if p.is_file() and p.parent == run.bundle}
    shutil.rmtree(run.bundle)
    verify(load_recipe(run.recipe), run)
    bundle = open_bundle(run.bundle)
    assert (run.bundle / "model.onnx").read_bytes() == run.model.read_bytes()
    assert bundle.manifest.version == json.loads(run.made.read_text())["version"]
    for name, content in before.items():
        if name != "manifest.json":  # it names the receipt, which names the machine and may be newer
            assert (run.bundle / name).read_bytes() == content


def test_there_is_no_bundle_when_the_fp32_file_fails(run: RunFolder) -> None:
    """What was proven of an earlier model is not served in the place of one that failed."""
    model = onnx.load(run.model)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == "float32" and value.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(value * value.dtype.type(1.1), tensor.name))
    onnx.save(model, run.model)
    with pytest.raises(GateFailedError, match="does not predict what the checkpoint predicts") as failed:
        verify(load_recipe(run.recipe), run)
    assert not run.bundle.exists()
    assert str(run.refused / "onnx-fp32.json") in str(failed.value)
    assert json.loads((run.refused / "onnx-fp32.json").read_text())["passed"] is False
    assert json.loads(run.artifacts.read_text())["onnx-fp32"]["published"] is False
    assert "not published" in run.proof.read_text()


def test_there_is_no_bundle_when_the_fp32_file_cannot_be_loaded(run: RunFolder) -> None:
    run.model.write_bytes(b"no model")
    with pytest.raises(ProviderError, match="cannot load it"):
        verify(load_recipe(run.recipe), run)
    assert not run.bundle.exists()
