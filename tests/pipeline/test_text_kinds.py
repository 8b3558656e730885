"""Every kind of encoder goes the whole way.

The way is fine-tuning, export, and a receipt on padded and unpadded texts.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.run.runner import open_run, run_stage
from serving.model.predictor import load_predictor
from tests.encoders import KINDS, make_encoder, make_texts, text_recipe

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_goes_from_weights_to_a_passed_receipt(tmp_path: Path, kind: str) -> None:
    formats = {
        "formats": ["onnx-fp32", "onnx-int8", "openvino-fp32"],
        "limits": {"openvino-fp32": {"min_speedup": 0}},
    }
    changes = {
        "export": formats,
        "finetune": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "device": "cpu"},
    }
    document = text_recipe(
        make_texts(tmp_path / "texts.csv", 80), make_encoder(tmp_path / "encoder", kind), **changes
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    run = open_run(tmp_path / "recipe.yaml", tmp_path / "run")
    for stage in ("data", "finetune", "transfer", "evaluate", "export", "verify"):
        run_stage(stage, run)
    receipt = json.loads(RunFolder(tmp_path / "run").receipt.read_text())
    assert receipt["passed"] is True
    folder = RunFolder(tmp_path / "run")
    tested = [sample for sample in read_samples(folder) if sample.split == "test"]
    assert receipt["agreeing"] == receipt["samples"] == len(tested)
    receipts = {name: json.loads(folder.receipt_of(name).read_text()) for name in formats["formats"]}
    assert {
        name: [check["name"] for check in receipt["checks"] if not check["passed"]]
        for name, receipt in receipts.items()
    } == {name: [] for name in receipts}
    history = json.loads((tmp_path / "run" / "checkpoint" / "history.json").read_text())
    assert history["epochs"][1]["train_loss"] > 0

    predictor = load_predictor(tmp_path / "run" / "bundle")
    texts = [
        b"good",
        b"the sun was so very bad and great the day we saw it",
        "déjà vu \u4e2d\u6587 \U0001f600".encode(),
    ]
    arrays = [predictor.decode(text).array for text in texts]
    assert len({len(array) for array in arrays}) > 1, "the batch is padded"
    alone = np.concatenate([predictor.score([array]) for array in arrays])
    assert np.abs(predictor.score(arrays) - alone).max() < 1e-5
