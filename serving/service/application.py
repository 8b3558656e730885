"""The application as middleware of BentoML's own, which it leaves the start, the end and users' mounts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Final

import bentoml
from bentoml.container import BentoMLContainer  # type: ignore[attr-defined]
from starlette.applications import Starlette
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.errors import ServingError, SettingsError
from serving.model.runtimes.machine import cpu_limit
from serving.server.app.build import build_refusing_app, make_app
from serving.server.app.components import share_memory
from serving.server.process.protocol import harden_connections
from serving.server.settings import Settings
from serving.service.arguments import read_service_settings

KEEP_ALIVE_S: Final = 5  # of a service that only refuses
ORIGINS: Final = "access_control_allow_origins"


class Application:
    """The application as BentoML's middleware. Where it cannot start, it says why at ``/readyz``.

    Args:
        app: BentoML's own application. It also gets the start and the end, and the paths that are its own.
        service: The BentoML service.
        modality: Kind of input that the service takes.
    """

    def __init__(self, app: ASGIApp, service: Any, modality: str) -> None:  # noqa: ANN401 - of BentoML
        self._inner = app
        self._service = service
        self._probes = _read_probes(service)
        self._mounts = [mount.rstrip("/") for _, mount, _ in service.mount_apps]
        self._is_started = False
        self._starting = threading.Lock()
        self._app, self._keep_alive_s = _open(service, modality)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            harden_connections(receive, self._keep_alive_s)
            async with self._app.router.lifespan_context(self._app):
                self._is_started = True
                await self._inner(scope, receive, send)
        elif scope["type"] != "http" or self._is_bentomls(scope):
            await self._inner(scope, receive, send)
        else:
            if not self._is_started:
                await asyncio.to_thread(self._start_late)
            await self._app(self._translate(scope), receive, send)

    def _start_late(self) -> None:
        """Start where nobody ran the lifespan, as an application does into which this one is mounted.

        A thread of its own runs it to the end of the process, since requests may come on several event loops.
        """
        with self._starting:
            if not self._is_started:
                ready = threading.Event()
                threading.Thread(target=asyncio.run, args=[self._live(ready)], daemon=True).start()
                ready.wait()
                self._is_started = True

    async def _live(self, ready: threading.Event) -> None:
        try:
            async with self._app.router.lifespan_context(self._app):
                ready.set()
                await asyncio.Event().wait()
        finally:
            ready.set()

    def _is_bentomls(self, scope: Scope) -> bool:
        """Return whether BentoML answers: what users mounted on the service, and all outside its prefix."""
        path, prefix = _find_path(scope), self._service.path_prefix
        return (
            bool(prefix and not path.startswith(f"{prefix}/"))
            or any(mount and f"{path}/".startswith(f"{mount}/") for mount in self._mounts)
            or ("" in self._mounts and not self._knows(scope))
        )

    def _knows(self, scope: Scope) -> bool:
        routes = self._app.router.routes
        return any(route.matches(self._translate(scope))[0] is not Match.NONE for route in routes)

    def _translate(self, scope: Scope) -> Scope:
        """Return the scope as the application reads it, below BentoML's prefix and probes."""
        prefix, path = self._service.path_prefix, _find_path(scope)
        if path in self._probes:
            return {**scope, "path": self._probes[path], "root_path": ""}
        return {**scope, "root_path": scope.get("root_path", "") + prefix} if prefix else scope


def _find_path(scope: Scope) -> str:
    """Return the path below that at which the service is mounted."""
    path, mount = str(scope["path"]), scope.get("root_path", "")
    return path[len(mount) :] if path.startswith(f"{mount}/") else path


def _open(service: Any, modality: str) -> tuple[Starlette, int]:  # noqa: ANN401 - BentoML is untyped
    """Return the application and how long its connections may idle, in seconds.

    BentoML would keep a process whose middleware raises, and have it answer 500 to everything.
    """
    try:
        settings = _divide_memory(read_service_settings(_read_origins()), service)
        warns = _is_first_worker()
        app = make_app(settings, modality=modality, schema=service.schema, warns_of_missing_keys=warns)
    except ServingError as error:
        return build_refusing_app(error, schema=service.schema), KEEP_ALIVE_S
    return app, settings.keep_alive_s


def _divide_memory(settings: Settings, service: Any) -> Settings:  # noqa: ANN401
    """Return settings by which all of BentoML's workers together hold no more of bodies than one would."""
    workers = _read_config(service).get("workers") or 1
    if settings.max_buffered_bytes is not None or workers == 1:
        return settings
    count = cpu_limit() if workers == "cpu_count" else int(workers)
    return settings.model_copy(update={"max_buffered_bytes": share_memory(count)})


def _is_first_worker() -> bool:
    return (bentoml.server_context.worker_index or 1) == 1


def _read_probes(service: Any) -> dict[str, str]:  # noqa: ANN401
    """Return our paths of probes by the paths that BentoML's configuration gives them."""
    given = _read_config(service).get("endpoints") or {}
    return {given[name]: f"/{name}" for name in ("livez", "readyz") if given.get(name)}


def _read_config(service: Any) -> dict[str, Any]:  # noqa: ANN401
    config: dict[str, Any] = BentoMLContainer.config.services.get().get(service.name) or {}
    return config


def _read_origins() -> Sequence[str]:
    """Return the origins of pages that BentoML's configuration allows to call; raises SettingsError."""
    cors = BentoMLContainer.api_server_config.http.cors.get() or {}
    if not cors.get("enabled"):
        return ()
    others = sorted(key for key, value in cors.items() if value and key not in {"enabled", ORIGINS})
    if others:
        text = f"http.cors.{others[0]}: not supported by this service. Name exact origins in {ORIGINS}."
        raise SettingsError("wrong_cors", text)
    origins = cors.get(ORIGINS) or []
    return [origins] if isinstance(origins, str) else list(origins)
