from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> onnx.ModelProto:
    return onnx.load(tiny_run / "bundle" / "model.onnx")


def test_onnx_file_takes_uint8_nhwc_and_gives_probabilities(model: onnx.ModelProto) -> None:
    (given,), (answer,) = model.graph.input, model.graph.output
    shape = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert given.name == "image"
    assert answer.name == "probabilities"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert isinstance(shape[0], str)
    assert shape[1:] == [64, 64, 3]
    assert [opset.version for opset in model.opset_import if opset.domain in {"", "ai.onnx"}] == [20]


def test_onnx_file_says_where_it_comes_from(model: onnx.ModelProto) -> None:
    found = {item.key: item.value for item in model.metadata_props}
    assert json.loads(found["graft.labels"]) == ["bars", "plain"]
    assert json.loads(found["graft.input"])["height"] == 64
    assert len(json.loads(found["graft.lineage"])["checkpoint_sha256"]) == 64


def test_onnx_file_holds_no_path_of_the_machine(tiny_run: Path) -> None:
    content = (tiny_run / "bundle" / "model.onnx").read_bytes()
    for trace in (
        b".py",
        b"site-packages",
        str(ROOT).encode(),
        str(Path.home()).encode(),
        str(tiny_run).encode(),
    ):
        assert trace not in content


def test_export_gives_the_same_bytes_when_the_checkpoint_is_the_same(tiny_run: Path, tmp_path: Path) -> None:
    copy = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "copy")))
    export(load_recipe(copy.recipe), copy)
    assert copy.model.read_bytes() == (tiny_run / "bundle" / "model.onnx").read_bytes()
