"""The whole service as one Starlette application."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware

from serving.server.app.components import Components, open_components
from serving.server.app.table import list_endpoints
from serving.server.http.access import Guard
from serving.server.http.endpoint import Endpoint
from serving.server.http.limits import BodyLimitMiddleware
from serving.server.http.observe import ObservingMiddleware
from serving.server.http.refusals import EXCEPTION_HANDLERS, FaultMiddleware
from serving.server.observing.logs import configure_logging
from serving.server.settings import Settings


def make_app(settings: Settings, *, modality: str | None = None) -> Starlette:
    """Configure the log of this process, and build the application that it runs; see :func:`build_app`."""
    configure_logging(settings.log_level)
    return build_app(settings, modality=modality)


def build_app(settings: Settings, *, modality: str | None = None) -> Starlette:
    """Build the application, which answers every request and watches the bundle and the keys while it runs.

    Args:
        settings: Settings of the service.
        modality: Kind of input whose bundles are served; None for the kind of the first bundle.

    Raises:
        SettingsError: The keys cannot be used, or traces cannot be sent.
    """
    parts = open_components(settings, modality)
    return frame(parts, list_endpoints(parts))


def frame(parts: Components, endpoints: Sequence[Endpoint]) -> Starlette:
    """Put endpoints into the frame of every request: observing, limits on bodies, access and refusals."""
    guard = Guard(
        parts.keys,
        protect_all=parts.settings.protect_all,
        allow_anonymous=parts.settings.allow_anonymous,
        require_model=parts.live.require_ready,
    )
    app = Starlette(
        routes=[endpoint.to_route(guard) for endpoint in endpoints],
        middleware=[
            Middleware(ObservingMiddleware, metrics=parts.metrics, traces=parts.traces),
            Middleware(BodyLimitMiddleware, get_limits=parts.body_limits),
            Middleware(FaultMiddleware),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=parts.running,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is unknown
    return app
