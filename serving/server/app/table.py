"""The one table of endpoints: path, method, name, handler, access, and what OpenAPI says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from pydantic.json_schema import JsonSchemaValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.model.inputs.kind import MAX_ITEMS
from serving.model.schemas import BatchPredictions, Prediction
from serving.server.app.components import Components
from serving.server.docs.document import describe_service
from serving.server.handlers.about import HTML, AboutHandlers, Live, Ready
from serving.server.handlers.oip.handlers import InferenceHandlers
from serving.server.handlers.oip.inference import Inference
from serving.server.handlers.oip.messages import (
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    ServerReady,
)
from serving.server.handlers.pages.reference import Reference
from serving.server.handlers.prediction import PredictionHandlers
from serving.server.http.bodies import JSON, PLAIN
from serving.server.http.endpoint import Endpoint

Schema = Callable[[], JsonSchemaValue]
MODEL: Final = "/v2/models/{name}"
VERSION: Final = "/v2/models/{name}/versions/{version}"
ONE: Final = "Classify one {noun}."
MANY: Final = f"Classify up to {MAX_ITEMS} {{plural}}: one prediction or one error each, in their order."
ALIVE: Final = "Whether the process answers."
READY: Final = "Whether requests are answered, and by what."
PAGE: Final = "A page for people, to try the model."
DOCS: Final = "This description, as a page for people."
SCHEMA: Final = "This description, as BentoML's clients read it."
INFER: Final = f"Classify up to {MAX_ITEMS} items. One that is refused refuses all."
METADATA: Final = "What the model takes and gives."
IS_READY: Final = "Whether the model answers."


def list_endpoints(parts: Components, schema: Schema | None = None) -> tuple[Endpoint, ...]:
    """Return the table, with handlers on the parts of one service.

    Args:
        parts: Parts of the service.
        schema: Describes the service to BentoML's clients; None for no such path.
    """
    v1 = PredictionHandlers(parts.live, parts.engine)
    reference = Reference(lambda bundle: describe_service(rows, bundle))
    about = AboutHandlers(parts.live, parts.metrics, reference, is_keyless=parts.is_keyless)
    v2 = InferenceHandlers(Inference(parts.live, parts.engine))
    rows: tuple[Endpoint, ...] = (
        Endpoint("POST", "/predict", "predict", v1.one, "model", ONE, Prediction, "one"),
        Endpoint("POST", "/predict_batch", "predict_batch", v1.many, "model", MANY, BatchPredictions, "many"),
        Endpoint("GET", "/", "page", about.page, "page", PAGE, HTML),
        Endpoint("GET", "/livez", "live", about.alive, "probe", ALIVE, Live),
        Endpoint("GET", "/healthz", "live", about.alive, "probe", ALIVE, Live),
        Endpoint("GET", "/readyz", "ready", about.ready, "ready", READY, Ready),
        Endpoint("GET", "/metrics", "metrics", about.count, "about", "Metrics for Prometheus.", PLAIN),
        Endpoint("GET", "/docs", "docs", about.reference, "about", DOCS, HTML),
        Endpoint("GET", "/docs.json", "docs", about.docs, "about", "This description, as OpenAPI.", JSON),
        Endpoint("GET", "/v2/health/live", "live", about.alive, "probe", ALIVE, Live),
        Endpoint("GET", "/v2/health/ready", "ready", v2.ready, "ready", READY, ServerReady),
        Endpoint("GET", "/v2", "v2_server", v2.server, "about", "What the server is.", ServerMetadata),
        Endpoint("GET", MODEL, "v2_model", v2.model, "about", METADATA, ModelMetadata),
        Endpoint("GET", VERSION, "v2_model", v2.model, "about", METADATA, ModelMetadata),
        Endpoint("GET", f"{MODEL}/ready", "v2_model_ready", v2.model_ready, "ready", IS_READY, ModelReady),
        Endpoint("GET", f"{VERSION}/ready", "v2_model_ready", v2.model_ready, "ready", IS_READY, ModelReady),
        Endpoint("POST", f"{MODEL}/infer", "v2_infer", v2.infer, "model", INFER, InferResponse, "infer"),
        Endpoint("POST", f"{VERSION}/infer", "v2_infer", v2.infer, "model", INFER, InferResponse, "infer"),
    )
    if schema:
        rows += (Endpoint("GET", "/schema.json", "schema", _answer(schema), "about", SCHEMA, JSON),)
    return rows


def _answer(schema: Schema) -> Callable[[Request], Awaitable[Response]]:
    async def handler(_: Request) -> Response:
        return JSONResponse(schema())

    return handler
