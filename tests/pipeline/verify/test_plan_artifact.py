"""A TensorRT artifact from export to service.

The builder, the machine and the session are stand-ins; `tests/gpu` has the real ones.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.export import tensorrt
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Recipe
from pipeline.verify import judge
from pipeline.verify.stage import verify
from serving.model import scorer
from serving.model.bundle import open_bundle
from serving.model.errors import BundleError, ProviderError
from serving.model.files import hash_file
from serving.model.predictor import load_predictor
from serving.model.records import Speedup
from serving.model.runtimes import plan
from serving.model.runtimes.onnx import OnnxSession
from tests.pipeline.export.test_tensorrt import FakeTensorRT
from tests.serving.model.runtimes.test_plan import HERE

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


def recipe_of(run: RunFolder, *formats: str) -> Recipe:
    recipe = load_recipe(run.recipe)
    return recipe.model_copy(
        update={"export": recipe.export.model_copy(update={"formats": ("onnx-fp32", *formats)})}
    )


def stand_in(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build plans without TensorRT; the fp32 file answers for them."""

    def open_session(path: Path, *_: Any, **__: Any) -> OnnxSession:
        return OnnxSession(run.model)

    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT())
    monkeypatch.setattr(tensorrt, "read_machine", lambda: HERE)
    monkeypatch.setattr(tensorrt, "require", lambda _: None)
    monkeypatch.setattr(plan, "read_machine", lambda: HERE)
    monkeypatch.setattr(scorer, "open_session", open_session)
    speedup = Speedup(median=2.0, low=2.0, high=2.0, samples=1)
    monkeypatch.setattr(judge, "measure_speedup", lambda *_: speedup)


@pytest.fixture(scope="module")
def made(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a plan in its bundle; tests work on copies."""
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("made") / "run")))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(run, patch)
        recipe = recipe_of(run, "tensorrt-fp32")
        export(recipe, run)
        verify(recipe, run)
    return run


@pytest.fixture
def published(made: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the run with a plan, where the stand-ins are in place."""
    run = RunFolder(Path(shutil.copytree(made.root, tmp_path / "published")))
    stand_in(run, monkeypatch)
    return run


def test_tensorrt_is_not_published_where_it_is_missing_and_the_run_says_why(run: RunFolder) -> None:
    recipe = recipe_of(run, "tensorrt-fp32", "tensorrt-fp16")
    export(recipe, run)
    verify(recipe, run)
    states = json.loads(run.artifacts.read_text())
    assert states["onnx-fp32"]["published"] is True
    for name in ("tensorrt-fp32", "tensorrt-fp16"):
        assert states[name]["published"] is False
        assert "cannot be built here" in states[name]["why"]


def test_plan_is_published_with_its_record(published: RunFolder) -> None:
    bundle = open_bundle(published.bundle)
    artifact = bundle.artifact("tensorrt-fp32")
    assert artifact.plan is not None
    assert artifact.plan.onnx_sha256 == bundle.artifact("onnx-fp32").sha256
    assert bundle.path_of(artifact.plan).is_file()
    loaded = load_predictor(published.bundle, artifact="tensorrt-fp32")
    assert loaded.artifact.max_batch_size == 32, "what its profile holds"


def edit_plan(run: RunFolder, **changes: object) -> None:
    path = run.bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    next(a for a in manifest["artifacts"] if a["name"] == "tensorrt-fp32")["plan"] |= changes
    path.write_text(json.dumps(manifest))


def test_plan_is_refused_on_another_gpu_and_the_onnx_serves_where_that_is_allowed(
    published: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plan, "read_machine", lambda: replace(HERE, compute_capability="8.0"))
    with pytest.raises(ProviderError, match=r"8\.0") as refused:
        load_predictor(published.bundle, artifact="tensorrt-fp32")
    assert refused.value.code == "plan_mismatch"
    assert (
        load_predictor(published.bundle, artifact="tensorrt-fp32", fallback="onnx-fp32").artifact.name
        == "onnx-fp32"
    )
    assert "serving onnx-fp32 instead of tensorrt-fp32" in caplog.text


def test_plan_is_refused_when_its_bytes_change_and_the_onnx_serves_where_that_is_allowed(
    published: RunFolder,
) -> None:
    with (published.bundle / "model-tensorrt-fp32.plan").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ProviderError, match="its bytes changed"):
        load_predictor(published.bundle, artifact="tensorrt-fp32")
    assert (
        load_predictor(published.bundle, artifact="tensorrt-fp32", fallback="onnx-fp32").artifact.name
        == "onnx-fp32"
    )


def test_another_plan_under_its_own_hash_is_unproven(published: RunFolder) -> None:
    """The receipt is of the plan, not only of the file around it."""
    path = published.bundle / "model-tensorrt-fp32.plan"
    path.write_bytes(path.read_bytes() + b"\0")
    edit_plan(published, sha256=hash_file(path))
    with pytest.raises(BundleError, match="the receipt of another plan"):
        load_predictor(published.bundle, artifact="tensorrt-fp32", fallback="onnx-fp32")


@pytest.mark.parametrize("field", ["compute_capability", "tensorrt_version", "gpu"])
def test_a_plan_whose_record_was_edited_is_unproven(published: RunFolder, field: str) -> None:
    edit_plan(published, **{field: "1.0"})
    with pytest.raises(BundleError, match="the receipt of another plan"):
        open_bundle(published.bundle)


def test_verify_begins_anew_where_a_plan_was_published(published: RunFolder) -> None:
    verify(recipe_of(published, "tensorrt-fp32"), published)
    assert [artifact.name for artifact in open_bundle(published.bundle).manifest.artifacts] == [
        "onnx-fp32",
        "tensorrt-fp32",
    ]
