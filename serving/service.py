"""The BentoML service: routes and schemas, nothing else.

It takes one BentoML argument: ``bundle``, a bundle's folder, or ``model``, a tag in BentoML's model store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import bentoml
from pydantic import BaseModel, Field, PrivateAttr
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import InputRefusedError
from serving.guard import Guard, error_json
from serving.predictor import load_predictor
from serving.runtime import cpu_limit
from serving.schemas import BatchPredictions, Prediction
from serving.uploads import read_many, read_one

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_ITEMS = 256
PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json")
ROUTES = {"/predict": ("POST",), "/predict_batch": ("POST",)} | dict.fromkeys(PROBES, ("GET", "HEAD"))


class ServiceArguments(BaseModel):
    """What ``bentoml serve --arg`` and the Bento's own arguments can set."""

    bundle: str | None = None
    model: str | None = None

    def folder(self) -> Path:
        """The bundle's folder."""
        if self.bundle:
            return Path(self.bundle)
        if self.model:
            return Path(bentoml.models.BentoModel(self.model).resolve().path)
        raise bentoml.exceptions.InvalidArgument("Name a bundle: bentoml serve serving.service:GraftService --arg bundle=FOLDER")


class _Upload(bentoml.IODescriptor):  # type: ignore[misc] # BentoML is untyped
    """Keeps the request for the endpoint to read, so that every refusal has the one shape of `ErrorBody`."""

    __root_input__: ClassVar[bool] = True
    media_type: ClassVar[str | None] = "multipart/form-data"
    _request: Request = PrivateAttr()

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> _Upload:  # noqa: ANN401, ARG003 - BentoML's signature
        upload: _Upload = cls.model_construct()
        upload._request = request
        return upload

    @property
    def request(self) -> Request:
        """The request itself."""
        return self._request


class ImageUpload(_Upload):
    """One picture, as the field ``image`` of a form or as the raw body."""

    image: bytes = b""


class ImagesUpload(_Upload):
    """Pictures, in the field ``images`` of a form, repeated."""

    images: list[bytes] = Field(default=[])


class PredictionOutput(Prediction, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict``."""


class BatchOutput(BatchPredictions, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict_batch``."""


@bentoml.service(
    name="graft",
    workers=1,
    traffic={"timeout": 30},
    metrics={"enabled": True, "duration": {"buckets": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0]}},
)
class GraftService:
    """Classifies pictures with a verified bundle."""

    def __init__(self) -> None:
        folder = bentoml.use_arguments(ServiceArguments).folder()
        # One thread a request on every CPU: on a CPU a batch of EfficientNet costs more a picture than singles.
        self._predictor = load_predictor(folder)
        self._pool = ThreadPoolExecutor(cpu_limit(), thread_name_prefix="predict")

    @bentoml.api(route="/predict", input_spec=ImageUpload, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    async def predict(self, upload: ImageUpload) -> Response:
        """Classify one picture: the raw body, or the multipart field `image`."""
        return await _respond(self._predict(upload.request))

    @bentoml.api(route="/predict_batch", input_spec=ImagesUpload, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    async def predict_batch(self, upload: ImagesUpload) -> Response:
        """Classify many pictures: the multipart field `images`, repeated. One result or one error an item, in order."""
        return await _respond(self._predict_batch(upload.request))

    async def _predict(self, request: Request) -> BaseModel:
        data = await read_one(request, "image")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._predictor.predict, data)

    async def _predict_batch(self, request: Request) -> BaseModel:
        items = await read_many(request, "images", MAX_ITEMS)
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(self._pool, self._predictor.predict_or_error, item) for item in items))
        return BatchPredictions(predictions=list(results))


async def _respond(answer: Awaitable[BaseModel]) -> Response:
    try:
        return Response((await answer).model_dump_json(), media_type="application/json")
    except InputRefusedError as refusal:
        return Response(error_json(refusal.code, refusal.message), status_code=refusal.status, media_type="application/json")


GraftService.add_asgi_middleware(Guard, routes=ROUTES, max_body_bytes=MAX_BODY_BYTES)  # type: ignore[attr-defined]
