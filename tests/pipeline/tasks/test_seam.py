"""Softmax, argmax and cross-entropy of answers stand in the task's files, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.conftest import ROOT

NAMES = {"softmax", "log_softmax", "argmax", "cross_entropy", "nll_loss"}
SEAM = {"pipeline/tasks/classification.py", "pipeline/tasks/losses.py", "serving/model/decision.py"}
# Other files that call something of that name, each with its reason.
EXCEPTIONS: dict[str, str] = {
    "pipeline/finetune/rates/sweep.py": "the rate at which the loss falls fastest",
    "pipeline/data/splits/cut.py": "the bound that is furthest above what there is",
    "pipeline/data/splits/hashed.py": "the split that lacks most",
    "pipeline/export/int8/operators.py": "the operator Softmax of ONNX, in torch",
    "pipeline/export/int8/distilling.py": "the divergence of a graph that ends in that operator from itself",
    "pipeline/package/triton/compare.py": "a script that lies beside Triton's models, where no task is",
    "pipeline/modalities/image/sources/keras_models.py": "the channel that a colour goes into",
}


def calls(source: str) -> Iterator[str]:
    """The names of the functions and methods that a source file calls."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name:
                yield name


def callers() -> set[str]:
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "serving" / "model").rglob("*.py")]
    return {
        file.relative_to(ROOT).as_posix()
        for file in files
        if NAMES & set(calls(file.read_text(encoding="utf-8")))
    }


def test_answers_are_made_of_probabilities_in_the_task_alone() -> None:
    assert callers() == SEAM | set(EXCEPTIONS), "ask the task, or name the reason in EXCEPTIONS"
