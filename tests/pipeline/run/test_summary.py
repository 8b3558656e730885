from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifacts.states import State
from pipeline.cli.output import emit
from pipeline.files.layout import RunFolder
from pipeline.measures.records import write_metrics
from pipeline.run.runner import StageResult
from pipeline.run.summary import Proof, Summary, summarise_run
from tests.pipeline.measures.test_records import METRICS

RESULTS = (
    StageResult("evaluate", skipped=False, seconds=1.25),
    StageResult("verify", skipped=True, seconds=0),
)
SUMMARY = Summary(
    run=Path("models/tiny"),
    stages=RESULTS,
    metrics=METRICS,
    receipt=Proof(passed=True, samples=4, agreeing=4, max_abs_logits=1e-6, mean_kl=0.0),
    artifacts={
        "onnx-fp32": State(published=True, why="4 of 4 answers agree"),
        "onnx-int8": State(published=False, why="it is slower"),
    },
    report=Path("models/tiny/evaluate/report.html"),
    bento="tiny:1",
)


def printed(summary: Summary, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    emit(summary, "", as_json=True)
    return json.loads(capsys.readouterr().out)


def test_summary_prints_the_keys_that_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(SUMMARY, capsys)
    assert list(document) == ["run", "stages", "metrics", "receipt", "artifacts", "report", "bento"]
    assert document["run"] == "models/tiny"
    assert document["stages"] == [
        {"stage": "evaluate", "skipped": False, "seconds": 1.25},
        {"stage": "verify", "skipped": True, "seconds": 0},
    ]
    assert document["metrics"] == METRICS.model_dump(mode="json")
    assert document["receipt"] == {
        "passed": True,
        "samples": 4,
        "agreeing": 4,
        "max_abs_logits": 1e-6,
        "mean_kl": 0.0,
    }
    assert document["artifacts"]["onnx-int8"] == {
        "published": False,
        "why": "it is slower",
        "speedup": None,
        "decided": None,
    }
    assert (document["report"], document["bento"]) == ("models/tiny/evaluate/report.html", "tiny:1")


def test_summary_prints_null_for_what_has_not_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = printed(summarise_run(RunFolder(tmp_path), RESULTS, done=()), capsys)
    assert [key for key, value in document.items() if value is None] == [
        "metrics",
        "receipt",
        "artifacts",
        "report",
        "bento",
    ]


def test_summary_reads_nothing_of_a_stage_that_is_not_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_metrics(folder.metrics, METRICS)
    assert summarise_run(folder, RESULTS, done=()).metrics is None
    assert summarise_run(folder, RESULTS, done=("evaluate",)).metrics == METRICS


def test_summary_says_in_lines_what_was_measured_and_proven() -> None:
    assert SUMMARY.to_text().splitlines() == [
        "stages    evaluate 1.2 s, verify skipped",
        "test      4 samples that neither trained nor selected",
        "  accuracy  0.300   [0.250, 0.750]",
        "  macro F1  0.300   [0.250, 0.750]",
        "  AUROC     0.300   [0.250, 0.750]",
        "  ECE       0.300   [0.250, 0.750]",
        "transfer  HURTS: -0.250 [-0.500, -0.100] in accuracy against words",
        "receipt   passed: 4 of 4 answers agree with the checkpoint",
        "onnx-int8     not published, because it is slower",
        "report    models/tiny/evaluate/report.html",
        "service   graft serve models/tiny   or   bentoml serve tiny:1",
    ]


def test_summary_says_that_a_receipt_failed_when_the_artifact_does_not_run() -> None:
    failed = replace(SUMMARY, receipt=Proof(passed=False, samples=4))
    assert "receipt   FAILED: 0 of 4 answers agree with the checkpoint" in failed.to_text().splitlines()
