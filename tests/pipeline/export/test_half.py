"""Half precision, of both kinds of classifier."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.artifacts.candidates import read_candidates
from pipeline.artifacts.checkpoint import load_checkpoint
from pipeline.artifacts.limits import LIMITS
from pipeline.export import stage
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.measures.reference import read_reference
from pipeline.recipe.reading import load_recipe
from pipeline.verify.receipt import build_receipt
from serving.model.files import hash_file
from serving.model.manifest import Artifact
from serving.model.scorer import load_scorer
from tests.conftest import make_picture
from tests.pipeline.verify.receipts import judge_of

pytestmark = pytest.mark.slow


def half_of(finished: Path, folder: Path) -> RunFolder:
    """A copy of a run with its fp16 file made."""
    run = RunFolder(Path(shutil.copytree(finished, folder / "run")))
    recipe = load_recipe(run.recipe)
    export(
        recipe.model_copy(update={"export": recipe.export.model_copy(update={"formats": ("onnx-fp16",)})}),
        run,
    )
    return run


@pytest.mark.parametrize("fixture", ["tiny_run", "text_run"])
def test_half_has_half_the_size_and_passes_its_receipt(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = half_of(request.getfixturevalue(fixture), tmp_path)
    file = run.candidates / "model-fp16.onnx"
    types = {
        tensor.data_type
        for tensor in onnx.load(file).graph.initializer
        if (len(tensor.dims) > 1 and 16 in tensor.dims) or max([*tensor.dims, 0]) > 64
    }
    assert onnx.TensorProto.FLOAT not in types
    judge = judge_of(run)
    artifact = Artifact(
        name="onnx-fp16", file=file.name, sha256=hash_file(file), runtime="onnxruntime-cpu", precision="fp16"
    )
    scorer = load_scorer(run.candidates, artifact, judge.preprocessor)
    receipt = build_receipt(scorer, judge.claim, judge.evidence, LIMITS["fp16"])
    assert receipt.passed, receipt.checks
    assert receipt.measured.max_abs_logits > 0, "it is another precision"
    made = read_candidates(run.made).files["model-fp16.onnx"]
    assert made.because is None
    assert made.temperature == pytest.approx(read_reference(run.reference).temperature, rel=0.02)


def test_half_is_not_made_when_it_overflows(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head whose weights fp32 holds and fp16 does not."""

    def load_large(folder: Path):
        classifier, card = load_checkpoint(folder)
        head = classifier.network.get_classifier()
        head.weight.data *= 1e6
        head.bias.data *= 1e6
        return classifier, card

    monkeypatch.setattr(stage, "load_checkpoint", load_large)
    run = half_of(tiny_run, tmp_path)
    assert not (run.candidates / "model-fp16.onnx").exists()
    assert (
        read_candidates(run.made).files["model-fp16.onnx"].because
        == "its answers are not finite: a value overflows"
    )
    scorer = judge_of(run).load("onnx-fp32")
    assert np.isfinite(scorer.score([scorer.decode(make_picture("bars", 1)).array])).all(), "fp32 holds it"
