"""The service as processes: one holds the port, and workers answer and are replaced when they die."""

from __future__ import annotations

import functools
import logging
import os
import resource
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from serving.model.errors import SettingsError
from serving.server.grpc.address import GrpcAddress
from serving.server.observing.logs import configure_logging
from serving.server.observing.sharing import FOLDER
from serving.server.process.listening import BACKLOG, Listening, reserve_port
from serving.server.process.streams import open_missing_streams
from serving.server.process.supervisor import Supervisor
from serving.server.process.worker import make_worker_app
from serving.server.process.workers import open_shared_folder
from serving.server.settings import Settings

log = logging.getLogger("graft")
PROTOCOL = "serving.server.process.protocol:HardenedProtocol"  # which only workers need to import
DRAIN_S = 25  # Kubernetes leaves 30 s by default between SIGTERM and SIGKILL
HEALTHCHECK_S = 30  # a worker that shares its CPUs, or loads a second model, is slow and not dead
MOST_FILES = 65_536


def serve(settings: Settings, listening: Listening, workers: int = 1) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, and then answer what has been asked.

    Workers are started first, and wait until everything has been checked here: what both import takes longer
    than anything else, and so they do it at the same time.

    Args:
        settings: Settings of the service.
        listening: Where it listens.
        workers: Number of processes that answer. One uses all CPUs; more only help where HTTP itself is the
            limit.

    Raises:
        SettingsError: The address cannot be listened on, or other machines can reach it and neither a key is
            set nor anonymous callers are allowed.
        BundleError: The bundle must not be served, which is better said here than by a service that is never
            ready.
        ProviderError: The artifact's runtime or device is not here, and there is no fallback.
    """
    open_missing_streams()
    configure_logging(settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.getLogger().level)  # here it tells of workers that die
    _allow_connections()
    listener = listening.open()
    with ExitStack() as held:
        held.callback(listening.clean)
        grpc = _reserve_grpc(settings, listening, held)
        if workers > 1:
            settings = _divide_memory(settings, workers)
            open_shared_folder()
        else:
            os.environ.pop(FOLDER, None)  # which another service may have left in the environment
        gate, opener = Pipe(duplex=False)
        supervisor = Supervisor(_configuration(settings, listening, workers, gate, grpc), [listener])
        with supervisor.started():
            _require_all(settings, listening)
        opener.send_bytes(b"open")
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise SettingsError("not_started", "A worker could not start; the log above says why.")


def _reserve_grpc(settings: Settings, listening: Listening, held: ExitStack) -> GrpcAddress | None:
    """Return where workers answer gRPC, on a port that is held for them; None where it is off."""
    if settings.grpc_port is None:
        return None
    socket = held.enter_context(reserve_port(listening.host, settings.grpc_port))
    host, port = socket.getsockname()[:2]
    return GrpcAddress(host, port, listening.tls_certificate, listening.tls_key, DRAIN_S)


def _divide_memory(settings: Settings, workers: int) -> Settings:
    """Return settings by which all workers together hold no more of bodies than one alone would."""
    from serving.server.app.components import share_memory

    if settings.max_buffered_bytes is not None:
        return settings
    return settings.model_copy(update={"max_buffered_bytes": share_memory(workers)})


def _allow_connections() -> None:
    """Raise the limit on open files as far as this user may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _configuration(
    settings: Settings, listening: Listening, workers: int, gate: Connection, grpc: GrpcAddress | None
) -> uvicorn.Config:
    return uvicorn.Config(
        functools.partial(make_worker_app, settings, gate, grpc),
        factory=True,
        workers=workers,
        loop="uvloop",
        http=PROTOCOL,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a request says of its origin is no fact
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_worker_healthcheck=HEALTHCHECK_S,
        ssl_certfile=listening.tls_certificate,
        ssl_keyfile=listening.tls_key,
    )


def _require_all(settings: Settings, listening: Listening) -> None:
    """Raise ServingError for whatever the service could not be started, or never be ready, for."""
    from serving.server.app.components import require_startable

    require_startable(settings)
    _require_keys(settings, listening)
    _require_bundle(settings)


def _require_keys(settings: Settings, listening: Listening) -> None:
    from serving.server.http.access import REMEDY, is_loopback
    from serving.server.http.keys import open_keys

    is_local = listening.unix_socket or is_loopback(listening.host)
    if is_local or settings.allow_anonymous or open_keys(settings.api_keys_file).are_set:
        return
    text = f"{listening.host} can be reached by other machines, and there are no API keys. {REMEDY}"
    raise SettingsError("no_keys", text)


def _require_bundle(settings: Settings) -> None:
    from serving.model.inputs.registry import find_kind
    from serving.model.signature import open_trusted

    bundle = open_trusted(settings.bundle, settings.trusted_keys)
    kind = find_kind(bundle.manifest.input.modality)
    if kind.require_packages is not None:
        kind.require_packages(bundle.manifest.input)
    artifact = bundle.artifact(settings.artifact)
    if settings.fallback:
        bundle.artifact(settings.fallback)  # better refused now than when it is needed
    if artifact.runtime != "onnxruntime-cpu":  # which is always here
        from serving.model.predictor import load_predictor

        load_predictor(
            settings.bundle,
            artifact=settings.artifact,
            fallback=settings.fallback,
            trusted_keys=settings.trusted_keys,
        )
