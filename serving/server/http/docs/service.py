"""What a service tells of itself: probes, metrics, this document, and the page."""

from __future__ import annotations

from typing import Final

from serving.server.http.docs.operations import Operation, json_content, ref

UNREADY: Final = frozenset({503})
LIVE: Final = json_content(ref("Live"), {"live": True})
READY: Final = json_content(ref("Ready"), {"ready": True, "model": {"name": "pets", "version": "3f2a", "artifact": "onnx-fp32"}})

SERVICE: Final = (
    Operation("GET", "/", "A page for people.", {"text/html": {"schema": {"type": "string"}}}, UNREADY),
    Operation("GET", "/livez", "Whether the process answers.", LIVE),
    Operation("GET", "/healthz", "The same as /livez.", LIVE),
    Operation("GET", "/readyz", "Whether requests are answered, by what, and whether an update was refused.", READY, UNREADY),
    Operation("GET", "/metrics", "Metrics for Prometheus.", {"text/plain": {"schema": {"type": "string"}}}, needs_key=True),
    Operation(
        "GET",
        "/docs.json",
        "This document.",
        {"application/json": {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}},
        UNREADY,
        needs_key=True,
    ),
)
