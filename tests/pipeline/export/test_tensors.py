"""A model whose tensors do not fit into one ONNX file: they lie beside it, proven and checked as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

from pipeline.artifacts import onnx as exporting
from pipeline.artifacts.publishing import publish_defaults
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from pipeline.verify.stage import verify
from serving.model.bundle import open_bundle
from serving.model.errors import BundleError
from serving.model.manifest import Defaults
from serving.model.predictor import load_predictor

pytestmark = pytest.mark.slow
FILE = "model.onnx.data"


@pytest.fixture(scope="module")
def run(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    copy = RunFolder(Path(shutil.copytree(text_run, tmp_path_factory.mktemp("large") / "run")))
    recipe = load_recipe(copy.recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "LARGEST_FILE", 1000)
        export(recipe, copy)
        verify(recipe, copy)
    return copy


def test_tensors_beside_the_model_answer_as_they_did_within_it(run: RunFolder, text_run: Path) -> None:
    size = (text_run / "bundle" / "model.onnx").stat().st_size
    assert (run.bundle / "model.onnx").stat().st_size < size / 3
    assert (run.bundle / FILE).stat().st_size > size / 2
    text = b"it was so good"
    inside, beside = (load_predictor(folder).predict(text) for folder in (text_run / "bundle", run.bundle))
    assert inside.label == beside.label
    assert inside.probabilities == pytest.approx(beside.probabilities, abs=1e-6)


def test_manifest_and_receipt_name_the_tensors_by_their_hash(run: RunFolder) -> None:
    (artifact, *others) = open_bundle(run.bundle).manifest.artifacts
    assert others == []
    assert artifact.tensors is not None
    assert artifact.tensors.file == FILE
    receipt = json.loads((run.bundle / "receipts" / "onnx-fp32.json").read_bytes())
    assert receipt["tensors"]["sha256"] == artifact.tensors.sha256
    assert receipt["passed"]


def test_further_formats_say_why_they_are_not_made(run: RunFolder) -> None:
    states = json.loads(run.artifacts.read_bytes())
    assert "past 2 GB only fp32 is served" in json.dumps(states)


def test_model_refers_to_its_tensors_by_name_alone(run: RunFolder) -> None:
    model = onnx.load(run.bundle / "model.onnx", load_external_data=False)
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {FILE}


def test_bundle_without_its_tensors_or_with_others_is_not_opened(run: RunFolder, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(run.bundle, tmp_path / "bundle"))
    content = bytearray((bundle / FILE).read_bytes())
    content[100] ^= 1
    (bundle / FILE).write_bytes(content)
    with pytest.raises(BundleError, match="its bytes changed"):
        open_bundle(bundle)
    (bundle / FILE).unlink()
    with pytest.raises(BundleError, match="not there"):
        open_bundle(bundle)


def test_receipt_of_other_tensors_proves_nothing(run: RunFolder, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(run.bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["artifacts"][0]["tensors"] = None
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="receipt of other tensors"):
        open_bundle(bundle)


def test_bundle_written_anew_for_its_defaults_keeps_the_tensors(run: RunFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.bundle, tmp_path / "bundle"))
    defaults = Defaults(artifact="onnx-fp32", threads=1, measured_on="a machine")
    publish_defaults(open_bundle(folder), defaults)
    assert (folder / FILE).read_bytes() == (run.bundle / FILE).read_bytes()
    assert open_bundle(folder).defaults == defaults
