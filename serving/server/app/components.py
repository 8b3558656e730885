"""The parts of one service, which its handlers share, and their life from the start to the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serving.model.runtimes.cpu import cpu_limit
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.http.keys import Keys, open_keys
from serving.server.http.limits import BodyLimits
from serving.server.observing.logs import flush_logs
from serving.server.observing.metrics import Metrics
from serving.server.observing.traces import open_traces
from serving.server.settings import Settings

if TYPE_CHECKING:
    from serving.server.observing.spans import Traces

log = logging.getLogger("graft")
MAX_BODY_BYTES_WITHOUT_MODEL: Final = 8 * 1024 * 1024
QUEUE_PER_CPU: Final = 16


@dataclass(frozen=True)
class Components:
    """What the handlers of one service share.

    Attributes:
        settings: Settings of the service.
        keys: Keys of those who may call.
        live: The model that answers.
        engine: What runs it.
        metrics: What is counted.
        traces: Where spans are recorded, or None where requests are not traced.
    """

    settings: Settings
    keys: Keys
    live: LiveModel
    engine: Engine
    metrics: Metrics
    traces: Traces | None

    def body_limits(self) -> BodyLimits:
        """Return the limits on bodies that hold at this moment."""
        of_kind = (
            self.live.predictor.kind.max_body_bytes if self.live.is_ready else MAX_BODY_BYTES_WITHOUT_MODEL
        )
        settings = self.settings
        most = settings.max_body_bytes or of_kind
        return BodyLimits(most, settings.body_timeout_s, settings.max_buffered_bytes)

    @asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Load the model, watch its folder and the keys, and at the end let what runs come to its end.

        A bundle that is refused does not end the service: it says why at /readyz. As a context it is the
        lifespan that Starlette asks for.
        """
        await self._refresh_model()
        watches = [
            asyncio.create_task(self._watch(look)) for look in (self._refresh_model, self._refresh_keys)
        ]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await asyncio.to_thread(self.engine.close)
            if self.traces:
                await asyncio.to_thread(self.traces.close)
            await asyncio.to_thread(flush_logs)

    async def _watch(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_s)
            try:
                await look()
            except Exception:  # the watch must go on
                log.exception("a watch failed")

    async def _refresh_keys(self) -> None:
        await asyncio.to_thread(self.keys.refresh)

    async def _refresh_model(self) -> None:
        is_swap = self.live.is_ready
        is_taken = await asyncio.to_thread(self.live.refresh)
        if is_taken is None:
            return
        if is_swap:
            self.metrics.count_swap(taken=is_taken)
        if is_taken:
            self.metrics.show_model(self.live.predictor.info)


def open_components(settings: Settings, modality: str | None = None) -> Components:
    """Open the parts of a service.

    Args:
        settings: Settings of the service.
        modality: Kind of input whose bundles are served; None for the kind of the first bundle.

    Raises:
        SettingsError: The keys cannot be used, or traces cannot be sent.
    """
    cpus = cpu_limit()
    queue = QUEUE_PER_CPU * cpus if settings.max_queue is None else settings.max_queue
    engine = Engine(Admission(cpus, queue, settings.deadline_s), Batcher())
    return Components(
        settings=settings,
        keys=open_keys(settings.api_keys_file),
        live=LiveModel(
            settings.bundle, artifact=settings.artifact, fallback=settings.fallback, modality=modality
        ),
        engine=engine,
        metrics=Metrics(lambda: engine.admission.waiting),
        traces=open_traces() if settings.trace else None,
    )
