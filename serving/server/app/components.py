"""The parts of one service, which its handlers share, and their life from the start to the end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from serving.model.errors import SettingsError
from serving.model.runtimes.machine import cpu_limit, memory_limit
from serving.model.runtimes.memory import KeptMemory
from serving.model.trust import read_trusted_keys
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.extra import require_grpc
from serving.server.http.access import Guard
from serving.server.http.keys import KEYS_VARIABLE, Keys, open_keys
from serving.server.http.limits import BodyLimits, Buffered
from serving.server.observing.logs import flush_logs
from serving.server.observing.metrics import Metrics
from serving.server.observing.traces import open_traces, require_tracing
from serving.server.settings import PREFIX, Settings

if TYPE_CHECKING:
    from serving.server.observing.spans import Traces

log = logging.getLogger("graft")
MAX_BODY_BYTES_WITHOUT_MODEL: Final = 8 * 1024 * 1024
QUEUE_PER_CPU: Final = 16
NEARLY: Final = (
    0.9  # of difflib's ratio; Kubernetes names variables after services, such as GRAFT_SERVICE_HOST
)
MOST_BUFFERED_BYTES: Final = 512 * 1024 * 1024
# A worker takes up to 100 MB before the first request. With an eighth for the bodies of all together, one and
# four of them stayed within 512 MiB (180 and 397 at the peak) while large batches came at once.
BUFFERED_SHARE: Final = 8
MEMORY_WATCH_S: Final = 1.0


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
        max_buffered_bytes: Size of all bodies together that are held at one time, in bytes.
        grpc: Where gRPC is answered, or None where it is not.
        buffered: Count of the bytes of all bodies that are held.
        memory: What the process holds of memory beyond what it needs.
    """

    settings: Settings
    keys: Keys
    live: LiveModel
    engine: Engine
    metrics: Metrics
    traces: Traces | None
    max_buffered_bytes: int
    grpc: GrpcAddress | None = None
    buffered: Buffered = field(default_factory=Buffered)
    memory: KeptMemory = field(default_factory=KeptMemory)

    @property
    def is_keyless(self) -> bool:
        """Whether only this machine is answered, because there are no keys that others could send."""
        return not (self.keys.are_set or self.settings.allow_anonymous)

    def make_guard(self) -> Guard:
        """Return what decides who is answered."""
        return Guard(
            self.keys,
            protect_all=self.settings.protect_all,
            is_keyless=self.is_keyless,
            require_model=self.live.require_ready,
        )

    def body_limits(self) -> BodyLimits:
        """Return the limits on bodies that hold at this moment.

        A body that would not fit alone is too large, since it could be sent again for ever.
        """
        of_kind = (
            self.live.predictor.kind.max_body_bytes if self.live.is_ready else MAX_BODY_BYTES_WITHOUT_MODEL
        )
        most = min(self.settings.max_body_bytes or of_kind, self.max_buffered_bytes)
        return BodyLimits(most, self.settings.body_timeout_s, self.max_buffered_bytes)

    @asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Load the model, watch its folder and the keys, and at the end let what runs come to its end.

        A bundle that is refused does not end the service: it says why at /readyz. As a context it is the
        lifespan that Starlette asks for.
        """
        await self._refresh_model()
        every_s = self.settings.watch_s
        watches = [
            asyncio.create_task(self._watch(self._refresh_model, every_s)),
            asyncio.create_task(self._watch(self._refresh_keys, every_s)),
            asyncio.create_task(self._watch(self._refresh_memory, MEMORY_WATCH_S)),
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

    async def _watch(self, look: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await look()
            except Exception:  # the watch must go on
                log.exception("a watch failed")

    async def _refresh_keys(self) -> None:
        await asyncio.to_thread(self.keys.refresh)

    async def _refresh_memory(self) -> None:
        await asyncio.to_thread(self.memory.refresh)

    async def _refresh_model(self) -> None:
        is_swap = self.live.is_ready
        is_taken = await asyncio.to_thread(self.live.refresh)
        if is_taken is None:
            return
        if is_swap:
            self.metrics.count_swap(taken=is_taken)
        if is_taken:
            self.metrics.show_model(self.live.predictor.info)
            await asyncio.to_thread(self.memory.settle)


def require_startable(settings: Settings) -> None:
    """Raise SettingsError where :func:`open_components` would, before any process starts."""
    _refuse_misspelt(os.environ)
    open_keys(settings.api_keys_file)
    if settings.trusted_keys is not None:
        read_trusted_keys(settings.trusted_keys)
    if settings.trace:
        require_tracing()
    if settings.grpc_port is not None:
        require_grpc()


def _refuse_misspelt(variables: Iterable[str]) -> None:
    """Raise SettingsError for a variable whose name is nearly one of a setting, and would be ignored."""
    known = {KEYS_VARIABLE, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)}
    for name in sorted(variables):
        nearest = get_close_matches(name, known, 1, NEARLY) if name.startswith(PREFIX) else []
        if nearest and name not in known:
            text = f"{name}: there is no such setting. Did you mean {nearest[0]}?"
            raise SettingsError("unknown_setting", text)


def open_components(
    settings: Settings,
    modality: str | None = None,
    *,
    keys: Keys | None = None,
    live: LiveModel | None = None,
    grpc: GrpcAddress | None = None,
) -> Components:
    """Open the parts of a service.

    Args:
        settings: Settings of the service.
        modality: Kind of input whose bundles are served; None for the kind of the first bundle.
        keys: Keys of those who may call; by default those of the settings and of the environment.
        live: The model that answers; by default that of the settings.
        grpc: Where gRPC is answered; by default it is not.

    Raises:
        SettingsError: The keys cannot be used, or traces cannot be sent.
    """
    cpus = cpu_limit()
    queue = QUEUE_PER_CPU * cpus if settings.max_queue is None else settings.max_queue
    engine = Engine(Admission(cpus, queue, settings.deadline_s), Batcher())
    return Components(
        settings=settings,
        keys=keys or open_keys(settings.api_keys_file),
        live=live
        or LiveModel(
            settings.bundle,
            artifact=settings.artifact,
            fallback=settings.fallback,
            modality=modality,
            trusted_keys=settings.trusted_keys,
        ),
        engine=engine,
        metrics=Metrics(lambda: engine.admission.waiting),
        traces=open_traces() if settings.trace else None,
        max_buffered_bytes=settings.max_buffered_bytes or share_memory(),
        grpc=grpc,
    )


def share_memory(workers: int = 1) -> int:
    """Return how many bytes of bodies each of some workers may hold, by the memory of container or machine.

    Args:
        workers: Number of processes that share the memory.
    """
    limit = memory_limit()
    most = MOST_BUFFERED_BYTES if limit is None else limit // (BUFFERED_SHARE * workers)
    return max(1, min(MOST_BUFFERED_BYTES, most))
