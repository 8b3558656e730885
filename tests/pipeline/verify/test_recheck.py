"""A bundle proven again, away from its run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import DataError, GateFailedError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.measures.reference import read_reference
from pipeline.verify.originals import find_originals
from pipeline.verify.recheck import recheck
from serving.model.files import hash_file
from serving.model.scorer import Scorer
from tests.conftest import run_graft

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "elsewhere"))


def test_recheck_passes_from_the_bundle_and_a_folder_of_files_in_any_order(
    bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    for index, path in enumerate(sorted(pictures.rglob("*.png"), reverse=True)):
        shutil.copy(path, tmp_path / "flat" / f"{index}.bin")
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    done = run_graft("verify", bundle, "--data", tmp_path / "flat", "--json")
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["unchecked"] == {}
    published = json.loads((bundle / "receipts" / "onnx-fp32.json").read_text())
    (receipt,) = found["receipts"]
    assert {key: receipt[key] for key in ("agreeing", "max_abs_logits", "limits")} == {
        key: published[key] for key in ("agreeing", "max_abs_logits", "limits")
    }
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before, (
        "nothing is written"
    )


def test_recheck_fails_when_the_machine_answers_otherwise(
    bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, arrays: score(self, [array // 2 for array in arrays]))
    found = recheck(bundle, pictures)
    assert found.passed is False
    with pytest.raises(GateFailedError, match=r"onnx-fp32: .*max_scaled_logits is"):
        found.require_passed(bundle)
    assert "! " in found.to_text()


def test_recheck_names_what_this_machine_cannot_run(bundle: Path, pictures: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    receipt = json.loads((bundle / "receipts/onnx-fp32.json").read_text()) | {
        "artifact": "cuda-fp32",
        "runtime": "onnxruntime-cuda",
    }
    (bundle / "receipts/cuda-fp32.json").write_text(json.dumps(receipt))
    ref = {
        "file": "receipts/cuda-fp32.json",
        "sha256": hash_file(bundle / "receipts/cuda-fp32.json"),
        "passed": True,
    }
    manifest["artifacts"].append(
        manifest["artifacts"][0] | {"name": "cuda-fp32", "runtime": "onnxruntime-cuda", "receipt": ref}
    )
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    found = recheck(bundle, pictures)
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine may have CUDA")
    assert found.passed is True, "what can be checked passed"
    assert "cuda-fp32 was not checked: CUDAExecutionProvider was asked for" in found.to_text()


def test_find_originals_finds_texts_in_a_table_and_by_a_recipe(text_run: Path) -> None:
    wanted = read_reference(RunFolder(text_run).reference).samples()
    for place in (text_run.parent / "texts.csv", text_run / "recipe.yaml"):
        found = find_originals(place, wanted)
        assert set(found) == set(wanted)
    samples = {sample.sha256: sample for sample in read_samples(RunFolder(text_run))}
    assert all(found[sha256].read() == samples[sha256].read() for sha256 in wanted)


def test_find_originals_finds_files_that_a_table_names(
    pictures: Path, tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "p")
    with (tmp_path / "t.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(
            [
                ["file", "note"],
                *([str(p.relative_to(tmp_path)), "no file " * 200] for p in (tmp_path / "p").rglob("*.png")),
            ]
        )
    wanted = read_reference(RunFolder(tiny_run).reference).samples()
    assert set(find_originals(tmp_path / "t.tsv", wanted)) == set(wanted)


def test_find_originals_passes_by_files_that_cannot_be_read(
    pictures: Path, tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "p" / "0").mkdir()
    wanted = read_reference(RunFolder(tiny_run).reference).samples()
    assert set(find_originals(tmp_path / "p", wanted)) == set(wanted)


@pytest.mark.parametrize("place", ["missing", "x.txt", "empty"])
def test_find_originals_refuses_a_place_without_the_samples(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"1 of 1 samples|neither a folder"):
        find_originals(tmp_path / place, ["ab" * 32])


def test_export_takes_formats_and_keeps_them(tiny_run: Path, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    before = run.model.read_bytes()
    run_graft("export", run.root, "--formats", "onnx-fp32,openvino-fp32,tensorrt-fp16,cuda-fp32")
    assert run.model.read_bytes() == before, "other formats do not change the source"
    assert yaml.safe_load(run.recipe.read_text())["export"]["formats"] == [
        "onnx-fp32",
        "openvino-fp32",
        "tensorrt-fp16",
        "cuda-fp32",
    ]
    done = run_graft("verify", run.root)
    states = json.loads(run.artifacts.read_text())
    assert set(states) == {"onnx-fp32", "openvino-fp32", "tensorrt-fp16", "cuda-fp32"}
    assert run.receipt_of("openvino-fp32") is not None
    if not Path("/dev/nvidia0").exists():
        assert "libcuda.so.1" in states["cuda-fp32"]["why"]
        assert states["tensorrt-fp16"]["published"] is False
        assert "tensorrt-fp16" in done.stdout


@pytest.mark.parametrize(
    ("formats", "words"),
    [("onnx-int8", "data.splits.calibration"), ("onnx-fp31", "onnx-fp31"), ("", "export.formats")],
)
def test_export_refuses_formats_that_are_unknown_or_lack_what_they_need(
    tiny_run: Path, formats: str, words: str
) -> None:
    done = run_graft("export", tiny_run, "--formats", formats, check=1)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
