"""What a stage has left, as events, and the files that go with an event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts.history import read_history
from pipeline.artifacts.states import State, read_states
from pipeline.files.layout import RunFolder
from pipeline.files.records import Record
from pipeline.measures.records import Figures, TransferVerdict, read_metrics
from pipeline.tracking.events import Evaluated, Event, Packaged, Trained, Transfer, Verdict
from serving.model.receipt import read_receipt


class _Tags(Record):
    bento: str | None
    model: str | None


def results_of(stage: str, run: RunFolder) -> Iterator[Event]:
    """Yield the results that a stage has left in a run's folder.

    Args:
        stage: Name of the stage; those without results that trackers show yield nothing.
        run: The run's folder.

    Raises:
        GraftError: A record of the stage is damaged.
    """
    if stage == "finetune":
        history = read_history(run.checkpoint)
        trained = history.trained
        yield Trained(mode=trained.mode, kept=history.kept, best_epoch=history.best_epoch, why=trained.why)
    elif stage == "evaluate":
        yield _evaluated(run)
    elif stage == "verify":
        for artifact, state in read_states(run.artifacts).items():
            yield _verdict(artifact, state, run)
    elif stage == "package":
        tags = _Tags.model_validate_json(run.bento.read_bytes())
        yield Packaged(bento=tags.bento, model=tags.model)


def _evaluated(run: RunFolder) -> Evaluated:
    metrics = read_metrics(run.metrics)
    return Evaluated(
        samples=metrics.samples,
        figures=Figures(**{name: getattr(metrics, name) for name in Figures.model_fields}),
        intervals_95=metrics.intervals_95,
        transfer=None if metrics.transfer is None else _transfer(metrics.transfer),
    )


def _transfer(verdict: TransferVerdict) -> Transfer:
    return Transfer(
        answer=verdict.answer,
        measure=verdict.measure,
        against=verdict.against,
        difference=verdict.difference,
        difference_95=verdict.difference_95,
    )


def _verdict(artifact: str, state: State, run: RunFolder) -> Verdict:
    path = run.receipt_of(artifact)
    if path is None:
        return Verdict(artifact=artifact, published=state.published, why=state.why)
    receipt = read_receipt(path)
    measured = receipt.measured
    return Verdict(
        artifact=artifact,
        published=state.published,
        why=state.why,
        passed=receipt.passed,
        samples=measured.samples,
        agreement=measured.agreement,
        mean_kl=measured.mean_kl,
        max_abs_probabilities=measured.max_abs_probabilities,
    )


def files_of(event: Event, run: RunFolder) -> tuple[Path, ...]:
    """Return the files of a run's folder that show what an event tells.

    Args:
        event: The event, which tells of the run as it is now.
        run: The run's folder.
    """
    if isinstance(event, Evaluated):
        return run.metrics, run.report
    if isinstance(event, Verdict):
        receipt = run.receipt_of(event.artifact)
        return (run.proof,) if receipt is None else (receipt, run.proof)
    return ()
