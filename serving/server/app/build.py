"""The whole service as one Starlette application."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic.json_schema import JsonSchemaValue
from starlette.applications import Starlette
from starlette.middleware import Middleware

from serving.model.errors import ServingError
from serving.model.manifest import Manifest
from serving.server.app.components import Components, open_components
from serving.server.app.lifespan import make_lifespan
from serving.server.app.table import Schema, list_endpoints
from serving.server.docs.document import describe_service
from serving.server.engine.live import LiveModel
from serving.server.grpc.address import GrpcAddress
from serving.server.http.access import KEYLESS
from serving.server.http.encoding import PackingMiddleware
from serving.server.http.endpoint import Endpoint
from serving.server.http.keys import Keys
from serving.server.http.limits import BodyLimitMiddleware
from serving.server.http.linger import LingerMiddleware
from serving.server.http.observe import Notes, ObservingMiddleware
from serving.server.http.origins import OriginMiddleware
from serving.server.http.prefix import PrefixMiddleware
from serving.server.http.refusals import EXCEPTION_HANDLERS, FaultMiddleware
from serving.server.observing.logs import configure_logging
from serving.server.settings import Settings

log = logging.getLogger("graft")


def make_app(
    settings: Settings,
    *,
    modality: str | None = None,
    schema: Schema | None = None,
    warns_of_missing_keys: bool = False,
) -> Starlette:
    """Configure the log of this process, and build the application that it runs; see :func:`build_app`.

    Args:
        settings: Settings of the service.
        modality: Kind of input whose bundles are served; None for the kind of the first bundle.
        schema: Describes the service to BentoML's clients, at ``/schema.json``; None for no such path.
        warns_of_missing_keys: Whether a service that gives other machines no predictions says so in its log.
    """
    configure_logging(settings.log_level)
    app = build_app(settings, modality=modality, schema=schema)
    if warns_of_missing_keys and app.state.is_keyless:
        log.warning("no_keys: %s", KEYLESS)
    return app


def build_app(
    settings: Settings,
    *,
    modality: str | None = None,
    schema: Schema | None = None,
    live: LiveModel | None = None,
    grpc: GrpcAddress | None = None,
) -> Starlette:
    """Build the application, which answers every request and watches the bundle and the keys while it runs.

    Args:
        settings: Settings of the service.
        modality: Kind of input whose bundles are served; None for the kind of the first bundle.
        schema: Describes the service to BentoML's clients, at ``/schema.json``; None for no such path.
        live: The model that answers, which may have begun to be loaded; by default that of the settings.
        grpc: Where gRPC is answered beside HTTP; by default it is not.

    Raises:
        SettingsError: The keys cannot be used, or traces cannot be sent.
    """
    parts = open_components(settings, modality, live=live, grpc=grpc)
    return frame(parts, list_endpoints(parts, schema))


def build_refusing_app(reason: ServingError, *, schema: Schema | None = None) -> Starlette:
    """Build the application of a service that cannot start: it is alive, never ready, and says why.

    Args:
        reason: What nothing but another start can mend, such as a setting.
        schema: As in :func:`build_app`.
    """
    configure_logging()
    log.error("%s: %s", reason.code, reason.message)
    parts = open_components(Settings(bundle=Path(os.devnull), allow_anonymous=True), keys=Keys())
    parts.live.refuse(reason)
    return frame(parts, list_endpoints(parts, schema))


def describe_bundle(manifest: Manifest, *, schema: Schema | None = None) -> JsonSchemaValue:
    """Return the OpenAPI document of the service of a bundle, without starting it."""
    parts = open_components(Settings(bundle=Path(os.devnull)), keys=Keys())
    return describe_service(list_endpoints(parts, schema), manifest)


def frame(parts: Components, endpoints: Sequence[Endpoint]) -> Starlette:
    """Put endpoints into the frame of every request.

    From the outside to the inside: observing, limits on bodies, pages from other origins, packing, faults,
    refusals, and access. What refuses lies inside of what makes refusals readable from other origins.
    """
    guard, notes = parts.make_guard(), Notes(parts.metrics, parts.traces)
    prefix = parts.settings.root_path
    origins = parts.settings.allow_origin
    app = Starlette(
        routes=[endpoint.to_route(guard) for endpoint in endpoints],
        middleware=[
            Middleware(LingerMiddleware),
            *([Middleware(PrefixMiddleware, prefix=prefix)] if prefix else []),
            Middleware(ObservingMiddleware, notes=notes),
            Middleware(BodyLimitMiddleware, get_limits=parts.body_limits, buffered=parts.buffered),
            *([Middleware(OriginMiddleware, origins=origins)] if origins else []),
            Middleware(PackingMiddleware),
            Middleware(FaultMiddleware),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=make_lifespan(parts, guard, notes),
    )
    app.router.redirect_slashes = False  # each endpoint takes a slash at the end itself
    app.state.is_keyless = parts.is_keyless
    return app
