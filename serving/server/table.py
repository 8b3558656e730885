"""The one table of endpoints: path, method, name, handler, access, and what OpenAPI says."""

from __future__ import annotations

from typing import Any, Final

from serving.model.inputs.kind import MAX_ITEMS
from serving.model.schemas import BatchPredictions, Prediction
from serving.server.about import AboutHandlers, Live, Ready
from serving.server.components import Components
from serving.server.docs.document import describe_service
from serving.server.endpoint import Endpoint, Operation
from serving.server.oip.codec import HEADER_LENGTH
from serving.server.oip.handlers import InferenceHandlers
from serving.server.oip.messages import InferResponse, ModelMetadata, ModelReady, ServerMetadata, ServerReady
from serving.server.prediction import PredictionHandlers

OIP: Final = "open inference protocol"
HTML: Final = "text/html"
TIMING: Final = "Server-Timing"
MODEL: Final = "/v2/models/{name}"
VERSION: Final = "/v2/models/{name}/versions/{version}"

PREDICT: Final = Operation(
    "Classify one {noun}.",
    Prediction,
    "prediction",
    body="one",
    parameters=("top_k",),
    headers=(TIMING,),
)
PREDICT_BATCH: Final = Operation(
    f"Classify up to {MAX_ITEMS} {{plural}}: one prediction or one error each, in their order.",
    BatchPredictions,
    "prediction",
    body="many",
    parameters=("top_k",),
    headers=(TIMING,),
)
INFER: Final = Operation(
    f"Classify up to {MAX_ITEMS} items. One that is refused refuses all.",
    InferResponse,
    OIP,
    body="infer",
    parameters=(HEADER_LENGTH,),
    headers=(TIMING, HEADER_LENGTH),
    is_binary=True,
)
PAGE: Final = Operation("A page for people.", HTML, needs_model=True)
LIVE: Final = Operation("Whether the process answers.", Live)
READY: Final = Operation("Whether requests are answered, and by what.", Ready, needs_model=True)
METRICS: Final = Operation("Metrics for Prometheus.", "text/plain")
DOCS: Final = Operation("This description, as a page for people.", HTML, needs_model=True)
DOCS_JSON: Final = Operation("This description, as OpenAPI.", "application/json", needs_model=True)
V2_LIVE: Final = Operation("Whether the process answers.", Live, OIP)
V2_READY: Final = Operation("Whether requests are answered.", ServerReady, OIP, needs_model=True)
V2_SERVER: Final = Operation("What the server is.", ServerMetadata, OIP)
V2_MODEL: Final = Operation("What the model takes and gives.", ModelMetadata, OIP, needs_model=True)
V2_MODEL_READY: Final = Operation("Whether the model answers.", ModelReady, OIP, needs_model=True)


def list_endpoints(parts: Components) -> tuple[Endpoint, ...]:
    """Return the table, with handlers on the parts of one service."""

    def describe() -> dict[str, Any]:
        return describe_service(endpoints, parts.live.predictor.manifest)

    predict = PredictionHandlers(parts.live, parts.engine, parts.metrics)
    about = AboutHandlers(parts.live, parts.metrics, describe)
    v2 = InferenceHandlers(parts.live, parts.engine, parts.metrics)
    endpoints = (
        Endpoint("POST", "/predict", "predict", predict.one, "model", PREDICT),
        Endpoint("POST", "/predict_batch", "predict_batch", predict.many, "model", PREDICT_BATCH),
        Endpoint("GET", "/", "page", about.page, "page", PAGE),
        Endpoint("GET", "/livez", "live", about.alive, "probe", LIVE),
        Endpoint("GET", "/healthz", "live", about.alive, "probe", LIVE),
        Endpoint("GET", "/readyz", "ready", about.ready, "probe", READY),
        Endpoint("GET", "/metrics", "metrics", about.count, "about", METRICS),
        Endpoint("GET", "/docs", "docs", about.reference, "about", DOCS),
        Endpoint("GET", "/docs.json", "docs", about.docs, "about", DOCS_JSON),
        Endpoint("GET", "/v2/health/live", "live", about.alive, "probe", V2_LIVE),
        Endpoint("GET", "/v2/health/ready", "ready", v2.ready, "probe", V2_READY),
        Endpoint("GET", "/v2", "v2_server", v2.server, "about", V2_SERVER),
        Endpoint("GET", MODEL, "v2_model", v2.model, "about", V2_MODEL),
        Endpoint("GET", VERSION, "v2_model", v2.model, "about", V2_MODEL),
        Endpoint("GET", f"{MODEL}/ready", "v2_model_ready", v2.model_ready, "probe", V2_MODEL_READY),
        Endpoint("GET", f"{VERSION}/ready", "v2_model_ready", v2.model_ready, "probe", V2_MODEL_READY),
        Endpoint("POST", f"{MODEL}/infer", "v2_infer", v2.infer, "model", INFER),
        Endpoint("POST", f"{VERSION}/infer", "v2_infer", v2.infer, "model", INFER),
    )
    return endpoints
