"""Prometheus metrics, with labels from closed sets, so that no client can make them grow. docs/serving.md lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from serving.model.schemas import ErrorBody, ModelInfo, Prediction
from serving.model.timings import Timings

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client adds up several processes
MODEL = "graft_model_info"
# Routes and codes come from this package and are far fewer. The bound is for the day on which one of them is taken from a request.
MOST_SERIES = 256
OTHER = "other"
M = TypeVar("M")


class Metrics:
    """A service's metrics. Routes and codes come from this package, labels from the model.

    Args:
        queue_length: How many requests wait at this moment.
    """

    def __init__(self, queue_length: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each of the others, and none of them where workers share theirs
        self._registry = registry = CollectorRegistry()
        self._is_shared = SHARED_FOLDER in os.environ
        self._queue_length = queue_length
        self._queue = Gauge("graft_queue_length", "Requests that wait for a thread", registry=registry, multiprocess_mode="livesum")
        self._model = Gauge(MODEL, "1 for what answers", ("name", "version", "artifact"), registry=registry, multiprocess_mode="livemax")
        self._shown: Gauge | None = None
        if not self._is_shared:
            self._queue.set_function(queue_length)
            ProcessCollector(registry=registry)
        self._count_requests(registry)
        self._count_work(registry)
        self._count_answers(registry)

    def _count_requests(self, registry: CollectorRegistry) -> None:
        requests = Counter("graft_requests", "Requests that were answered", ("route", "status"), registry=registry)
        seconds = Histogram(
            "graft_request_seconds", "From a request's headers to its answer's end", ("route",), registry=registry, buckets=SECONDS
        )
        refusals = Counter("graft_refusals", "Requests and items of batches that were refused", ("code",), registry=registry)
        self._requests, self._seconds, self._refusals = _Children(requests.labels), _Children(seconds.labels), _Children(refusals.labels)

    def _count_work(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: Sequence[float] = SECONDS) -> Histogram:
            return Histogram(name, text, registry=registry, buckets=buckets)

        self._queue_seconds = histogram("graft_queue_seconds", "Waiting for a thread")
        self._decode_seconds = histogram("graft_decode_seconds", "From bytes to the model's input")
        self._session_seconds = histogram("graft_session_seconds", "In the model")
        self._batch_size = histogram("graft_batch_size", "Inputs that the model ran at once", SIZES)
        self._items = histogram("graft_request_items", "Inputs of a request", SIZES)

    def _count_answers(self, registry: CollectorRegistry) -> None:
        predictions = Counter("graft_predictions", "Predictions by label: their mix drifts with the data", ("label",), registry=registry)
        self._predictions = _Children(predictions.labels, most=None)
        self._confidence = Histogram("graft_confidence", "Probability of the predicted label", registry=registry, buckets=PROBABILITIES)
        swaps = Counter("graft_swaps", "New versions of the bundle", ("result",), registry=registry)
        self._swaps = {result: swaps.labels(result) for result in ("taken", "refused")}  # there from the start, at 0

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answer, whatever it was."""
        self._requests[route, str(status)].inc()
        self._seconds[route,].observe(seconds)
        if self._is_shared:  # another worker may be the one that is asked for all of them
            self._queue.set(self._queue_length())

    def count_refusal(self, code: str) -> None:
        """Count one refusal by its code."""
        self._refusals[code,].inc()

    def count_predictions(self, answers: Sequence[Prediction | ErrorBody], timings: Timings) -> None:
        """Count what one request was answered; times are means over its items."""
        count = max(1, len(answers))
        self._queue_seconds.observe(timings.queue_s / count)
        self._decode_seconds.observe(timings.decode_s / count)
        self._session_seconds.observe(timings.session_s / count)
        self._batch_size.observe(timings.batch_size)
        self._items.observe(len(answers))
        for answer in answers:
            if isinstance(answer, ErrorBody):
                self.count_refusal(answer.error.code)
            else:
                self._predictions[answer.label,].inc()
                self._confidence.observe(answer.probability)

    def count_swap(self, *, taken: bool) -> None:
        """Count one new version that took over, or was refused."""
        self._swaps["taken" if taken else "refused"].inc()

    def show_model(self, model: ModelInfo) -> None:
        """Say which model answers."""
        if not self._is_shared:
            self._model.clear()
        elif self._shown:  # a shared file cannot forget; see _Workers
            self._shown.set(0)
        self._shown = self._model.labels(model.name, model.version, model.artifact)
        self._shown.set(1)

    def render(self) -> bytes:
        """All of them in the text format; those of every worker where there are several."""
        if not self._is_shared:
            return generate_latest(self._registry)
        self._queue.set(self._queue_length())
        return generate_latest(_Workers(Path(os.environ[SHARED_FOLDER])))


class _Children(dict[tuple[str, ...], M]):
    """A metric's children by their labels, made once, since its `labels` is slow. Past ``most`` what is new is ``other``."""

    def __init__(self, make: Callable[..., M], most: int | None = MOST_SERIES) -> None:
        super().__init__()
        self._make = make
        self._most = most

    def __missing__(self, labels: tuple[str, ...]) -> M:
        if self._most is not None and len(self) >= self._most:
            return self._make(*(OTHER for _ in labels))
        child = self[labels] = self._make(*labels)
        return child


class _Workers(Collector):
    """The sums over all workers: counts of those that died stay, what they last said of themselves does not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        _forget_dead(self._folder)
        for metric in multiprocess.MultiProcessCollector(None, str(self._folder)).collect():  # type: ignore[no-untyped-call]
            if metric.name == MODEL:
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def _forget_dead(folder: Path) -> None:
    """Leave out the gauges of processes that are no more."""
    pids = {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}
    for pid in pids:
        if not _is_alive(pid):
            with suppress(FileNotFoundError):  # another worker was asked at the same time
                multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
