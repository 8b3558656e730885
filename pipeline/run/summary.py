"""The summary of a run, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts.states import States, read_states
from pipeline.measures.records import Metrics, TransferVerdict, read_metrics
from serving.model.receipt import read_receipt

if TYPE_CHECKING:
    from pipeline.files.layout import RunFolder
    from pipeline.run.runner import StageResult

TRANSFER = {
    "helps": "helps",
    "hurts": "HURTS",
    "no_measurable_difference": "makes no measurable difference",
    "cannot_be_told": "cannot be told to help",
}
SHOWN = (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("auroc", "AUROC"), ("ece", "ECE"))


@dataclass(frozen=True)
class Proof:
    """The figures of the receipt of ``onnx-fp32``; one that was not measured is None.

    Attributes:
        passed: Whether the artifact is within all limits.
        samples: Number of samples that were compared.
        agreeing: Number of those that get the checkpoint's answer.
        max_abs_logits: Largest difference of a logit.
        mean_kl: Mean Kullback-Leibler divergence from the checkpoint, in nats.
    """

    passed: bool
    samples: int
    agreeing: int | None = None
    max_abs_logits: float | None = None
    mean_kl: float | None = None


@dataclass(frozen=True)
class Summary:
    """The results of a run by now. The result of a stage is None if the stage has not run.

    Its fields are the keys of what ``--json`` prints.

    Attributes:
        run: The run's folder.
        stages: The outcome of each stage that this command carried out or skipped.
        metrics: The metrics of the test split.
        receipt: The proof of ``onnx-fp32``.
        artifacts: The state of each artifact, by its name.
        report: Path of the page of the evaluation.
        bento: Tag of the Bento; also None where BentoML has no service for the kind of input.
    """

    run: Path
    stages: Sequence[StageResult]
    metrics: Metrics | None
    receipt: Proof | None
    artifacts: States | None
    report: Path | None
    bento: str | None

    def to_text(self) -> str:
        """Return the summary as lines for people."""
        stages = [
            f"{done.stage} {'skipped' if done.skipped else f'{done.seconds:.1f} s'}" for done in self.stages
        ]
        lines = ["stages    " + ", ".join(stages)]
        if self.metrics:
            lines += _figures(self.metrics) + _transfer(self.metrics.transfer)
        if self.receipt:
            lines.append(
                f"receipt   {'passed' if self.receipt.passed else 'FAILED'}: {self.receipt.agreeing or 0}"
                f" of {self.receipt.samples} answers agree with the checkpoint"
            )
        lines += [
            f"{name:<14}{state.to_text()}"
            for name, state in (self.artifacts or {}).items()
            if name != "onnx-fp32"
        ]
        if self.report:
            lines.append(f"report    {self.report}")
        if self.bento:
            lines.append(f"service   graft serve {self.run}   or   bentoml serve {self.bento}")
        elif any(stage.stage == "package" for stage in self.stages):  # BentoML has no service for the kind
            lines.append(f"service   graft serve {self.run}")
        return "\n".join(lines)


def _figures(metrics: Metrics) -> list[str]:
    lines = [f"test      {metrics.samples} samples that neither trained nor selected"]
    for key, name in SHOWN:
        low, high = getattr(metrics.intervals_95, key)
        lines.append(f"  {name:<10}{getattr(metrics, key):.3f}   [{low:.3f}, {high:.3f}]")
    return lines


def _transfer(verdict: TransferVerdict | None) -> list[str]:
    if verdict is None:
        return []
    answer = TRANSFER[verdict.answer]
    if verdict.against is None:
        return [f"transfer  {answer}"]
    low, high = verdict.difference_95
    measure = verdict.measure.replace("_", " ")
    return [
        f"transfer  {answer}: {verdict.difference:+.3f} [{low:+.3f}, {high:+.3f}] in {measure} against"
        f" {verdict.against}"
    ]


def summarise_run(folder: RunFolder, results: Sequence[StageResult], done: Collection[str]) -> Summary:
    """Read the results that the stages of a run have left.

    Args:
        folder: The run's folder.
        results: The outcomes of the stages of this command.
        done: Names of the stages whose results are up to date. The results of other stages are not read,
            since they would be of another model.
    """
    evaluated, verified = "evaluate" in done, "verify" in done
    return Summary(
        run=folder.root,
        stages=results,
        metrics=read_metrics(folder.metrics) if evaluated else None,
        receipt=_read_proof(folder.receipt) if verified else None,
        artifacts=read_states(folder.artifacts) if verified else None,
        report=folder.report if evaluated else None,
        bento=_read_tag(folder.bento) if "package" in done else None,
    )


def _read_proof(path: Path) -> Proof:
    receipt = read_receipt(path)
    measured = receipt.measured
    return Proof(
        passed=receipt.passed,
        samples=measured.samples,
        agreeing=measured.agreeing,
        max_abs_logits=measured.max_abs_logits,
        mean_kl=measured.mean_kl,
    )


def _read_tag(path: Path) -> str | None:
    tag: str | None = json.loads(path.read_bytes())["bento"]
    return tag
