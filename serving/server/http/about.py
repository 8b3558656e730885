"""Probes, metrics, documentation and the page: what a service tells of itself."""

from __future__ import annotations

import json

from serving.server.engine.live import LiveModel
from serving.server.http.docs import describe_service
from serving.server.http.exchange import Exchange
from serving.server.http.page import CONTENT_SECURITY_POLICY, render_page
from serving.server.http.replies import Reply, json_reply
from serving.server.observing.metrics import CONTENT_TYPE, Metrics


class AboutHandlers:
    """Answers requests about the service.

    Args:
        live: The model that answers.
        metrics: What is counted.
    """

    def __init__(self, live: LiveModel, metrics: Metrics) -> None:
        self._live = live
        self._metrics = metrics

    async def alive(self, _: Exchange) -> Reply:
        """That the process answers."""
        return json_reply({"live": True})

    async def ready(self, _: Exchange) -> Reply:
        """That requests are answered, or why not; and what was refused since, if anything was."""
        state: dict[str, object] = {"ready": True, "model": self._live.predictor.info.to_json()}
        refusal = self._live.refusal
        if refusal:
            state["refused_update"] = {"code": refusal.code, "message": refusal.message}
        return json_reply(state)

    async def metrics(self, _: Exchange) -> Reply:
        """Metrics, as Prometheus reads them."""
        return Reply(self._metrics.render(), media_type=CONTENT_TYPE)

    async def docs(self, _: Exchange) -> Reply:
        """The OpenAPI document."""
        return Reply(json.dumps(describe_service(self._live.predictor.manifest), ensure_ascii=False).encode())

    async def page(self, _: Exchange) -> Reply:
        """The page for people."""
        predictor = self._live.predictor
        body = render_page(predictor.info, predictor.manifest.input.modality, predictor.manifest.labels)
        headers = {
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Reply(body, media_type="text/html; charset=utf-8", headers=headers)
