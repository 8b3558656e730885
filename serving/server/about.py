"""Handlers of probes, metrics, documentation and the page: what a service tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.model.schemas import Body, ErrorDetail, ModelInfo
from serving.server.engine.live import LiveModel
from serving.server.http.refusals import BodyResponse
from serving.server.observing.metrics import CONTENT_TYPE, Metrics
from serving.server.page.page import PAGE_POLICY, render_page
from serving.server.page.policy import make_headers
from serving.server.page.reference import REFERENCE_POLICY, render_reference

HTML: Final = "text/html"


class Live(Body):
    """The process answers."""

    live: Literal[True] = True


class Ready(Body):
    """Requests are answered.

    Attributes:
        model: What answers them.
        refused_update: Why what is in the bundle's folder now is not served; what was there before is.
    """

    ready: Literal[True] = True
    model: ModelInfo
    refused_update: ErrorDetail | None = None


class AboutHandlers:
    """Answers requests about the service.

    Args:
        live: The model that answers.
        metrics: Metrics of the service.
        describe: Gives the OpenAPI document for the model that answers.
    """

    def __init__(self, live: LiveModel, metrics: Metrics, describe: Callable[[], dict[str, Any]]) -> None:
        self._live = live
        self._metrics = metrics
        self._describe = describe

    async def alive(self, _: Request) -> Response:
        """Say that the process answers."""
        return BodyResponse(Live())

    async def ready(self, _: Request) -> Response:
        """Say that requests are answered, or why not; and which update was refused since, if any."""
        refusal = self._live.refusal
        refused = ErrorDetail(code=refusal.code, message=refusal.message) if refusal else None
        return BodyResponse(Ready(model=self._live.predictor.info, refused_update=refused))

    async def count(self, _: Request) -> Response:
        """Give the metrics, as Prometheus reads them."""
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def docs(self, _: Request) -> Response:
        """Give the OpenAPI document."""
        return JSONResponse(self._describe())

    async def reference(self, _: Request) -> Response:
        """Give the OpenAPI document as a page for people."""
        return Response(
            render_reference(self._describe()), headers=make_headers(REFERENCE_POLICY), media_type=HTML
        )

    async def page(self, _: Request) -> Response:
        """Give the page for people."""
        predictor = self._live.predictor
        page = render_page(predictor.info, predictor.kind, predictor.manifest.labels)
        return Response(page, headers=make_headers(PAGE_POLICY), media_type=HTML)
