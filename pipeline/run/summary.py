"""What a run has come to, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts.states import State

if TYPE_CHECKING:
    from pipeline.files.layout import RunFolder
    from pipeline.run.runner import StageResult

SHOWN = (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("auroc", "AUROC"), ("ece", "ECE"))


@dataclass(frozen=True)
class Summary:
    """A run's folder, what its stages did, and what is known of it by now (None where a stage has not run).

    ``bento`` is also None where BentoML has no service for the kind of input; ``is_packaged`` is then true.
    """

    run: Path
    stages: Sequence[StageResult]
    metrics: dict[str, Any] | None
    receipt: dict[str, Any] | None
    artifacts: dict[str, Any] | None
    report: Path | None
    bento: str | None
    is_packaged: bool = False

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "run": str(self.run),
            "stages": [asdict(stage) for stage in self.stages],
            "metrics": self.metrics,
            "receipt": self.receipt
            and {
                key: self.receipt.get(key)
                for key in ("passed", "samples", "agreeing", "max_abs_logits", "mean_kl")
            },
            "artifacts": self.artifacts,
            "report": self.report and str(self.report),
            "bento": self.bento,
        }

    def to_text(self) -> str:
        """The summary as lines."""
        stages = [f"{s.stage} {'skipped' if s.skipped else f'{s.seconds:.1f} s'}" for s in self.stages]
        lines = ["stages    " + ", ".join(stages)]
        if self.metrics:
            lines.append(f"test      {self.metrics['samples']} samples that neither trained nor selected")
            for key, name in SHOWN:
                low, high = self.metrics["intervals_95"][key]
                lines.append(f"  {name:<10}{self.metrics[key]:.3f}   [{low:.3f}, {high:.3f}]")
            lines += _baseline(self.metrics["baseline"])
        if self.receipt:
            state = "passed" if self.receipt["passed"] else "FAILED"
            lines.append(
                f"receipt   {state}: {self.receipt.get('agreeing', 0)} of {self.receipt['samples']} answers agree with the checkpoint"
            )
        lines += [
            f"{name:<14}{State(**found).to_text()}"
            for name, found in (self.artifacts or {}).items()
            if name != "onnx-fp32"
        ]
        if self.report:
            lines.append(f"report    {self.report}")
        if self.bento:
            lines.append(f"service   graft serve {self.run}   or   bentoml serve {self.bento}")
        elif self.is_packaged:
            lines.append(f"service   graft serve {self.run}")
        return "\n".join(lines)


def _baseline(baseline: dict[str, Any] | None) -> list[str]:
    if baseline is None:
        return []
    verdict = "LOSES to" if baseline["loses"] else "beats"
    return [
        f"baseline  {verdict} {baseline['name']} ({baseline['macro_f1']:.3f}) by {abs(baseline['lead']):.3f} in macro F1"
    ]


def summarise_run(folder: RunFolder, results: Sequence[StageResult], done: Collection[str]) -> Summary:
    """Read what the run's stages have left; nothing of a stage that is not in ``done``, since it would be of another model."""

    def read(stage: str, path: Path) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads(path.read_bytes()) if stage in done else None

    bento = read("package", folder.bento)
    return Summary(
        run=folder.root,
        stages=results,
        metrics=read("evaluate", folder.metrics),
        receipt=read("verify", folder.receipt),
        artifacts=read("verify", folder.artifacts),
        report=folder.report if "evaluate" in done else None,
        bento=bento and bento["bento"],
        is_packaged=bento is not None,
    )
