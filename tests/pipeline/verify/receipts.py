"""Receipts of a run's candidates, as documents."""

from __future__ import annotations

import json

from pipeline.artifacts.checkpoint import read_card
from pipeline.artifacts.formats import SOURCE
from pipeline.artifacts.limits import LIMITS
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from pipeline.verify.judge import Judge
from pipeline.verify.receipt import Claim, build_receipt
from pipeline.verify.stage import prepare
from serving.model.scorer import Scorer


def judge_of(run: RunFolder) -> Judge:
    return prepare(load_recipe(run.recipe), run, read_card(run.checkpoint))


def load(run: RunFolder) -> Scorer:
    """The fp32 candidate, whatever is in the file."""
    return judge_of(run).load(SOURCE)


def receipt_of(
    run: RunFolder, scorer: Scorer | None = None, tier: str = "fp32", labels: tuple[str, ...] | None = None
) -> dict[str, object]:
    judge = judge_of(run)
    claim = (
        judge.claim if labels is None else Claim(labels, judge.claim.reference_sha256, judge.claim.lineage)
    )
    made = judge.candidates.files["model.onnx"]
    receipt = build_receipt(scorer or judge.load(SOURCE), claim, judge.evidence, LIMITS[tier], made=made)
    return json.loads(receipt.to_bytes())


def failed(receipt: dict[str, object]) -> set[str]:
    json.dumps(receipt, allow_nan=False)
    assert receipt["passed"] is (not any(not check["passed"] for check in receipt["checks"]))
    return {check["name"] for check in receipt["checks"] if not check["passed"]}
