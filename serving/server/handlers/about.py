"""Handlers of probes, metrics, documentation and the page: what a service tells of itself."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from serving.model.schemas import Body, ErrorDetail, ModelInfo
from serving.server.engine.live import LiveModel
from serving.server.handlers.pages.page import PAGE_POLICY, render_page
from serving.server.handlers.pages.policy import make_headers
from serving.server.handlers.pages.reference import REFERENCE_POLICY, Reference
from serving.server.http.access import KEYLESS
from serving.server.http.refusals import JSON, BodyResponse
from serving.server.observing.metrics import CONTENT_TYPE, Metrics

HTML: Final = "text/html"


class Live(Body):
    """The process answers."""

    live: Literal[True] = True


ALIVE: Final = Live()


class Ready(Body):
    """Requests are answered."""

    ready: Literal[True] = True
    model: ModelInfo
    refused_update: ErrorDetail | None = Field(
        default=None, description="Why the present content of the bundle's folder is not served."
    )
    restriction: ErrorDetail | None = Field(
        default=None, description="Why other machines are given no predictions."
    )


class AboutHandlers:
    """Answers requests about the service.

    Args:
        live: The model that answers.
        metrics: Metrics of the service.
        reference: The API description.
        is_keyless: Whether only this machine is answered, because there are no keys.
    """

    def __init__(self, live: LiveModel, metrics: Metrics, reference: Reference, *, is_keyless: bool) -> None:
        self._live = live
        self._metrics = metrics
        self._reference = reference
        self._restriction = ErrorDetail(code="no_keys", message=KEYLESS) if is_keyless else None

    async def alive(self, _: Request) -> Response:
        """Say that the process answers."""
        return BodyResponse(ALIVE)

    async def ready(self, _: Request) -> Response:
        """Say that requests are answered, or why not; and which update was refused since, if any."""
        refusal = self._live.refusal
        refused = ErrorDetail(code=refusal.code, message=refusal.message) if refusal else None
        model = self._live.predictor.info
        return BodyResponse(Ready(model=model, refused_update=refused, restriction=self._restriction))

    async def count(self, _: Request) -> Response:
        """Give the metrics, as Prometheus reads them."""
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def docs(self, _: Request) -> Response:
        """Give the OpenAPI document."""
        document, __ = await asyncio.to_thread(self._reference.of, self._live.predictor.manifest)
        return Response(document, media_type=JSON)

    async def reference(self, _: Request) -> Response:
        """Give the OpenAPI document as a page for people."""
        __, page = await asyncio.to_thread(self._reference.of, self._live.predictor.manifest)
        return Response(page, headers=make_headers(REFERENCE_POLICY), media_type=HTML)

    async def page(self, _: Request) -> Response:
        """Give the page for people."""
        predictor = self._live.predictor
        page = render_page(predictor.info, predictor.kind, predictor.manifest.labels)
        return Response(page, headers=make_headers(PAGE_POLICY), media_type=HTML)
