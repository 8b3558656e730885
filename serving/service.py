"""The BentoML service: routes and schemas, nothing else.

There is one service a kind of input. Each takes the BentoML argument ``bundle``, a bundle's folder, or ``model``, a tag in BentoML's
model store; ``artifact``, the name of a published artifact, by default the one that a benchmark recommends or the bundle's first; and
``fallback``, the name of one to serve where that cannot be run. A service that cannot serve its bundle stays up and answers everything but
``/livez`` with a 503 that says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import bentoml
from pydantic import BaseModel, Field, PrivateAttr
from starlette.requests import Request
from starlette.responses import Response

from serving.bodies import image, text
from serving.bundle import SERVICES
from serving.errors import BundleError, InputRefusedError, ServingError
from serving.guard import Guard, error_json
from serving.predictor import Predictor, load_predictor
from serving.readiness import Readiness
from serving.schemas import BatchPredictions, Body, Prediction

log = logging.getLogger("bentoml")
MAX_BODY_BYTES = {"image": 64 * 1024 * 1024, "text": 8 * 1024 * 1024}
MAX_ITEMS = 256
READINESS = {modality: Readiness() for modality in SERVICES}
PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json")
ROUTES = {"/predict": ("POST",), "/predict_batch": ("POST",)} | dict.fromkeys(PROBES, ("GET", "HEAD"))
OPTIONS: dict[str, Any] = {
    "workers": 1,
    "traffic": {"timeout": 30},
    "metrics": {"enabled": True, "duration": {"buckets": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0]}},
}


class ServiceArguments(BaseModel):
    """What ``bentoml serve --arg`` and the Bento's own arguments can set."""

    bundle: str | None = None
    model: str | None = None
    artifact: str | None = None
    fallback: str | None = None

    def folder(self) -> Path:
        """The bundle's folder."""
        if self.bundle:
            return Path(self.bundle)
        if self.model:
            return Path(bentoml.models.BentoModel(self.model).resolve().path)
        raise bentoml.exceptions.InvalidArgument("Name a bundle: bentoml serve serving.service:GraftService --arg bundle=FOLDER")


class _Body(bentoml.IODescriptor):  # type: ignore[misc] # BentoML is untyped
    """Keeps the request for the endpoint to read, so that every refusal has the one shape of `ErrorBody`."""

    __root_input__: ClassVar[bool] = True
    _request: Request = PrivateAttr()

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> _Body:  # noqa: ANN401, ARG003 - BentoML's signature
        body: _Body = cls.model_construct()
        body._request = request
        return body

    @property
    def request(self) -> Request:
        """The request itself."""
        return self._request


class ImageBody(_Body):
    """One picture, as the field ``image`` of a form or as the raw body."""

    media_type: ClassVar[str | None] = image.MULTIPART
    image: bytes = b""


class ImagesBody(_Body):
    """Pictures, in the field ``images`` of a form, repeated."""

    media_type: ClassVar[str | None] = image.MULTIPART
    images: list[bytes] = Field(default=[])


class TextBody(_Body):
    """One text, as JSON or as text/plain."""

    media_type: ClassVar[str | None] = text.JSON
    text: str = Field(default="", examples=["What a day!"])


class TextsBody(_Body):
    """Several texts, as JSON."""

    media_type: ClassVar[str | None] = text.JSON
    texts: list[str] = Field(default=[], examples=[["What a day!", "Not again."]])


class PredictionOutput(Prediction, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict``."""


class BatchOutput(BatchPredictions, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict_batch``."""


class _Service:
    """What every kind of input shares: a predictor, and one thread a request on every CPU.

    On a CPU a batch of EfficientNet costs more a picture than singles, so that requests are not grouped.
    """

    modality: ClassVar[str]

    def __init__(self) -> None:
        arguments = bentoml.use_arguments(ServiceArguments)
        try:
            self._predictor = self._load(arguments)
        except ServingError as error:
            log.error("not ready: %s", error.message)
            READINESS[self.modality].refusal = error
            return
        self._pool = ThreadPoolExecutor(self._predictor.callers, thread_name_prefix="predict")

    def _load(self, arguments: ServiceArguments) -> Predictor:
        predictor = load_predictor(arguments.folder(), artifact=arguments.artifact, fallback=arguments.fallback)
        found = predictor.manifest.input.modality
        if found != self.modality:
            raise BundleError("wrong_service", f"The bundle takes {found} input. Serve it with {SERVICES[found]}.")
        return predictor

    async def _one(self, body: Awaitable[bytes]) -> Body:
        data = await body
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._predictor.predict, data)

    async def _many(self, body: Awaitable[list[bytes]]) -> Body:
        items = await body
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(self._pool, self._predictor.predict_or_error, item) for item in items))
        return BatchPredictions(predictions=list(results))


@bentoml.service(name="graft", **OPTIONS)
class GraftService(_Service):
    """Classifies pictures with a verified bundle."""

    modality = "image"

    @bentoml.api(route="/predict", input_spec=ImageBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    async def predict(self, body: ImageBody) -> Response:
        """Classify one picture: the raw body, or the multipart field `image`."""
        return await _respond(self._one(image.read_one(body.request)))

    @bentoml.api(route="/predict_batch", input_spec=ImagesBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    async def predict_batch(self, body: ImagesBody) -> Response:
        """Classify many pictures: the multipart field `images`, repeated. One result or one error an item, in order."""
        return await _respond(self._many(image.read_many(body.request, MAX_ITEMS)))


@bentoml.service(name="graft-text", **OPTIONS)
class GraftTextService(_Service):
    """Classifies texts with a verified bundle."""

    modality = "text"

    @bentoml.api(route="/predict", input_spec=TextBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    async def predict(self, body: TextBody) -> Response:
        """Classify one text: the JSON key `text`, or the body of text/plain. An answer says so when the text was cut."""
        return await _respond(self._one(text.read_one(body.request)))

    @bentoml.api(route="/predict_batch", input_spec=TextsBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    async def predict_batch(self, body: TextsBody) -> Response:
        """Classify many texts: the JSON key `texts`. One result or one error an item, in order."""
        return await _respond(self._many(text.read_many(body.request, MAX_ITEMS)))


async def _respond(answer: Awaitable[Body]) -> Response:
    try:
        return Response((await answer).to_bytes(), media_type="application/json")
    except InputRefusedError as refusal:
        return Response(error_json(refusal.code, refusal.message), status_code=refusal.status, media_type="application/json")


GraftService.add_asgi_middleware(  # type: ignore[attr-defined]
    Guard, routes=ROUTES, max_body_bytes=MAX_BODY_BYTES["image"], readiness=READINESS["image"]
)
GraftTextService.add_asgi_middleware(  # type: ignore[attr-defined]
    Guard, routes=ROUTES, max_body_bytes=MAX_BODY_BYTES["text"], readiness=READINESS["text"]
)
