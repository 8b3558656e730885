"""Prometheus metrics of the service, which docs/observing.md lists.

Labels come from closed sets, so that no client can make the number of time series grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from serving.model.schemas import ErrorBody, ModelInfo, Prediction
from serving.model.timings import Timings
from serving.server.observing.sharing import LoneDeaths, SharedMetrics, share_metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
MODEL = "graft_model_info"
# Routes and codes come from this package and are far fewer. The bound guards against the mistake of taking
# one of them from a request.
MOST_SERIES = 256
# Of predictions by label, in the file of the counters, where the others need the rest: it must never grow.
MOST_SHARED_BYTES = 768 * 1024
SERIES_BYTES = 176  # at most, without the values of its labels
OTHER = "other"
M = TypeVar("M")


class Metrics:
    """The metrics of one service, summed over its workers where there are several.

    Args:
        queue_length: Returns the number of requests that wait for a thread at this moment.
    """

    def __init__(self, queue_length: Callable[[], int]) -> None:
        # Each metric would have one more series, its creation time, but not where workers share theirs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._folder = share_metrics()
        self._queue_length = queue_length
        text = "Requests that wait for a thread"
        self._queue = Gauge("graft_queue_length", text, registry=registry, multiprocess_mode="livesum")
        text, labels = "1 for the model that serves requests", ("name", "version", "artifact")
        self._model = Gauge(MODEL, text, labels, registry=registry, multiprocess_mode="livemax")
        self._shown: Gauge | None = None
        if self._folder is None:
            self._queue.set_function(queue_length)
            ProcessCollector(registry=registry)
            registry.register(LoneDeaths())
        self._create_request_metrics(registry)
        self._create_stage_metrics(registry)
        self._create_result_metrics(registry)

    def _create_request_metrics(self, registry: CollectorRegistry) -> None:
        text = "Requests that were answered"
        requests = Counter("graft_requests", text, ("route", "status"), registry=registry)
        name, text = "graft_request_seconds", "Time from a request's headers to the end of its response"
        seconds = Histogram(name, text, ("route",), registry=registry, buckets=SECONDS)
        text = "Requests and items of batches that were refused"
        refusals = Counter("graft_refusals", text, ("code",), registry=registry)
        self._requests = _Children(requests.labels)
        self._seconds = _Children(seconds.labels)
        self._refusals = _Children(refusals.labels)

    def _create_stage_metrics(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: Sequence[float] = SECONDS) -> Histogram:
            return Histogram(name, text, registry=registry, buckets=buckets)

        self._queue_seconds = histogram("graft_queue_seconds", "Time spent waiting for a thread")
        self._decode_seconds = histogram("graft_decode_seconds", "Time spent decoding inputs")
        self._session_seconds = histogram("graft_session_seconds", "Time spent running the model")
        self._batch_size = histogram("graft_batch_size", "Inputs in one run of the model", SIZES)
        self._items = histogram("graft_request_items", "Inputs of a request", SIZES)

    def _create_result_metrics(self, registry: CollectorRegistry) -> None:
        text = "Predictions by label: their mix drifts with the data"
        predictions = Counter("graft_predictions", text, ("label",), registry=registry)
        if self._folder:
            self._predictions = _Children(predictions.labels, MOST_SHARED_BYTES, _measure)
        else:
            self._predictions = _Children(predictions.labels, most=None)
        text = "Probability of the predicted label"
        self._confidence = Histogram("graft_confidence", text, registry=registry, buckets=PROBABILITIES)
        swaps = Counter("graft_swaps", "New versions of the bundle", ("result",), registry=registry)
        # Created now, so that both are there from the start, at 0.
        self._swaps = {result: swaps.labels(result) for result in ("taken", "refused")}

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count one response of any status.

        Args:
            route: Name of the route, from a closed set.
            status: HTTP status code.
            seconds: Time from the request's headers to the end of the response, in seconds.
        """
        self._requests[route, str(status)].inc()
        self._seconds[route,].observe(seconds)
        if self._folder:  # another worker may be asked for the metrics of all
            self._queue.set(self._queue_length())

    def count_refusal(self, code: str) -> None:
        """Count one refused request or item of a batch by its error code."""
        self._refusals[code,].inc()

    def count_predictions(self, answers: Sequence[Prediction | ErrorBody], timings: Timings) -> None:
        """Count the results of one request.

        Args:
            answers: One prediction or error per item.
            timings: Time that each stage took, summed over the items. Their means are counted.
        """
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
        """Count one new version of the bundle.

        Args:
            taken: Whether it took over; False when it was refused.
        """
        self._swaps["taken" if taken else "refused"].inc()

    def show_model(self, model: ModelInfo) -> None:
        """Set the model that ``graft_model_info`` names."""
        if self._folder is None:
            self._model.clear()
        elif self._shown:  # a shared file keeps every series; SharedMetrics leaves out those at 0
            self._shown.set(0)
        self._shown = self._model.labels(model.name, model.version, model.artifact)
        self._shown.set(1)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, summed over the workers where there are several."""
        if self._folder is None:
            return generate_latest(self._registry)
        self._queue.set(self._queue_length())
        try:
            return generate_latest(SharedMetrics(self._folder, MODEL))
        except FileNotFoundError:  # temporary folders are cleaned by others; what this worker counted is left
            return generate_latest(self._registry)


class _Children(dict[tuple[str, ...], M]):
    """Caches the children of a metric by their label values, since its method ``labels`` is slow.

    Args:
        make: The metric's method ``labels``.
        most: Size of all children, past which new label values are counted as ``other``. None sets no bound.
        measure: Returns the size of a child by its label values; by default each counts as 1.
    """

    def __init__(
        self,
        make: Callable[..., M],
        most: int | None = MOST_SERIES,
        measure: Callable[[tuple[str, ...]], int] = lambda _: 1,
    ) -> None:
        super().__init__()
        self._make = make
        self._most = most
        self._measure = measure
        self._size = 0

    def __missing__(self, labels: tuple[str, ...]) -> M:
        size = self._size + self._measure(labels)
        if self._most is not None and size > self._most:
            return self._make(*(OTHER for _ in labels))
        child = self[labels] = self._make(*labels)
        self._size = size
        return child


def _measure(labels: tuple[str, ...]) -> int:
    """Return the most bytes that a series takes in a shared file, which has the values of labels as JSON."""
    return SERIES_BYTES + len(json.dumps(labels))
