"""The numbers of an event, as curves and tables of trackers name them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts.history import Epoch, LeadRecord
from pipeline.measures.records import Figures
from pipeline.tracking.events import EpochJudged, Evaluated, Event, StageEnded, Verdict


@dataclass(frozen=True)
class Scalar:
    """A number.

    Attributes:
        name: Its name, whose parts are separated by ``/``.
        value: The number.
        step: The epoch; 0 for what is measured once.
    """

    name: str
    value: float
    step: int = 0


def scalars_of(event: Event) -> tuple[Scalar, ...]:
    """Return the numbers of an event; none of an event that has none."""
    if isinstance(event, EpochJudged):
        return _of_epoch(event.training, event.figures)
    if isinstance(event, Evaluated):
        return _of_evaluation(event)
    if isinstance(event, Verdict):
        return _of_verdict(event)
    if isinstance(event, StageEnded) and event.state == "done":
        return (Scalar(f"seconds/{event.stage}", event.seconds),)
    return ()


def _of_epoch(training: str, epoch: Epoch) -> tuple[Scalar, ...]:
    values = {
        "train_loss": epoch.train_loss,
        "seen_loss": epoch.seen_loss,
        "validation_loss": epoch.validation_loss,
        "validation_accuracy": epoch.validation_accuracy,
        "samples_per_s": epoch.samples_per_s,
        **_of_lead("over_head", epoch.over_head),
        **_of_lead("over_best", epoch.over_best),
    }
    return tuple(
        Scalar(f"{training}/{name}", value, epoch.epoch)
        for name, value in values.items()
        if value is not None
    )


def _of_lead(name: str, lead: LeadRecord | None) -> dict[str, float]:
    return {} if lead is None else {name: lead.nats, f"{name}_low": lead.low, f"{name}_high": lead.high}


def _of_evaluation(event: Evaluated) -> tuple[Scalar, ...]:
    scalars = [Scalar("test/samples", event.samples)]
    for name in Figures.model_fields:
        low, high = getattr(event.intervals_95, name)
        values = {"": getattr(event.figures, name), "_low": low, "_high": high}
        scalars += [Scalar(f"test/{name}{end}", value) for end, value in values.items()]
    if event.transfer is not None:
        low, high = event.transfer.difference_95
        values = {"": event.transfer.difference, "_low": low, "_high": high}
        scalars += [Scalar(f"transfer/difference{end}", value) for end, value in values.items()]
    return tuple(scalars)


def _of_verdict(event: Verdict) -> tuple[Scalar, ...]:
    measured = {
        "published": float(event.published),
        "passed": None if event.passed is None else float(event.passed),
        "samples": event.samples,
        "agreement": event.agreement,
        "mean_kl": event.mean_kl,
        "max_abs_probabilities": event.max_abs_probabilities,
    }
    return tuple(
        Scalar(f"receipt/{event.artifact}/{name}", value)
        for name, value in measured.items()
        if value is not None
    )
