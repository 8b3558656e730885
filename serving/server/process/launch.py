"""The service as processes: one holds the port, and workers answer and are replaced when they die."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import resource
import signal
import socket
import sys
import tempfile

import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from serving.model.bundle import open_bundle
from serving.model.errors import SettingsError
from serving.server.app.build import make_app
from serving.server.http.access import REMEDY, is_loopback
from serving.server.http.keys import open_keys
from serving.server.observing.logs import configure_logging
from serving.server.observing.metrics import SHARED_FOLDER
from serving.server.observing.traces import require_tracing
from serving.server.process.protocol import HardenedProtocol
from serving.server.settings import Settings

log = logging.getLogger("graft")
PR_SET_PDEATHSIG = 1  # prctl(2)
BACKLOG = 2048
DRAIN_S = 25  # Kubernetes leaves 30 s by default between SIGTERM and SIGKILL
HEALTHCHECK_S = 30  # a worker that shares its CPUs, or loads a second model, is slow and not dead
MOST_FILES = 65_536


def serve(settings: Settings, host: str, port: int, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT, and then answer what has been asked.

    Args:
        settings: Settings of the service.
        host: Address to listen on.
        port: Port to listen on.
        workers: Number of processes that answer. One uses all CPUs; more only help where HTTP itself is the
            limit.

    Raises:
        SettingsError: The address cannot be listened on, or other machines can reach it and neither a key is
            set nor anonymous callers are allowed.
        BundleError: The bundle must not be served, which is better said here than by a service that is never
            ready.
        ProviderError: The artifact's runtime or device is not here, and there is no fallback.
    """
    configure_logging(settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.getLogger().level)  # here it tells of workers that die
    if settings.trace:
        require_tracing()
    _require_keys(settings, host)
    _require_bundle(settings)
    _allow_connections()
    listener = _listen(host, port)
    with tempfile.TemporaryDirectory(prefix="graft-metrics-") as folder:
        if workers > 1:
            os.environ[SHARED_FOLDER] = folder
        supervisor = Multiprocess(_configuration(settings, workers), [listener])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise SettingsError("not_started", "A worker could not start; the log above says why.")


def _allow_connections() -> None:
    """Raise the limit on open files as far as this user may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def make_worker_app(settings: Settings) -> Starlette:
    """Build what a worker process runs."""
    _end_with_parent()
    return make_app(settings)


def _end_with_parent() -> None:
    """Drain and end when the process that holds the port is killed.

    Nobody could replace this worker then, and the port would stay taken.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _configuration(settings: Settings, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        functools.partial(make_worker_app, settings),
        factory=True,
        workers=workers,
        loop="uvloop",
        http=HardenedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a request says of its origin is no fact
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_worker_healthcheck=HEALTHCHECK_S,
    )


def _require_keys(settings: Settings, host: str) -> None:
    keys = open_keys(settings.api_keys_file)  # a useless file is reported here once, and not by every worker
    if not (is_loopback(host) or keys.are_set or settings.allow_anonymous):
        text = f"{host} can be reached by other machines, and there are no API keys. {REMEDY}"
        raise SettingsError("no_keys", text)


def _require_bundle(settings: Settings) -> None:
    bundle = open_bundle(settings.bundle)
    artifact = bundle.artifact(settings.artifact)
    if settings.fallback:
        bundle.artifact(settings.fallback)  # better refused now than when it is needed
    if artifact.runtime != "onnxruntime-cpu":  # which is always here
        from serving.model.predictor import load_predictor

        load_predictor(settings.bundle, artifact=settings.artifact, fallback=settings.fallback)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # from now on clients wait instead of being refused
    except OSError as error:
        text = (
            f"{host}:{port}: cannot be listened on ({error.strerror}). Choose another with --port or --host."
        )
        raise SettingsError("cannot_listen", text) from error
    listener.set_inheritable(True)
    return listener
