"""The BentoML service: what BentoML packages, starts and describes, around the application that answers.

There is one service a kind of input. Each takes the BentoML argument ``bundle``, a bundle's folder, or
``model``, a tag in BentoML's model store; ``artifact``, the name of a published artifact, by default the one
that a benchmark recommends or the bundle's first; and ``fallback``, the name of the artifact to serve where
that one cannot be run. Everything else is set by environment variables
(:class:`serving.server.settings.Settings`).

The application of :mod:`serving.server.app.build` answers as middleware of BentoML's own, which would cost
half a millisecond a request. BentoML's is left with its start, its end, and ``/schema.json``. docs/adr/0009
has the measurements.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import bentoml
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.predictor import Predictor, load_predictor
from serving.model.schemas import BatchPredictions, Prediction
from serving.server.app.build import make_app
from serving.server.settings import read_settings

MULTIPART, JSON = "multipart/form-data", "application/json"
OPTIONS: dict[str, Any] = {
    "workers": 1,
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}
# What only BentoML's own client asks BentoML for.
PASSED_ON = frozenset({"/schema.json"})


class ServiceArguments(BaseModel):
    """What ``bentoml serve --arg`` and the Bento's own arguments can set."""

    bundle: str | None = None
    model: str | None = None
    artifact: str | None = None
    fallback: str | None = None

    def folder(self) -> Path:
        """Return the bundle's folder; raises BentoML's InvalidArgument where none is named."""
        if self.bundle:
            return Path(self.bundle)
        if self.model:
            return Path(bentoml.models.BentoModel(self.model).resolve().path)
        example = "bentoml serve serving.service:GraftService --arg bundle=FOLDER"
        raise bentoml.exceptions.InvalidArgument(f"Name a bundle: {example}")


class ImageBody(bentoml.IODescriptor):  # type: ignore[misc] # BentoML is untyped
    """One picture, as the field ``image`` of a form or as the raw body."""

    media_type: ClassVar[str | None] = MULTIPART
    image: bytes = b""


class ImagesBody(bentoml.IODescriptor):  # type: ignore[misc]
    """Pictures, in the field ``images`` of a form, repeated."""

    media_type: ClassVar[str | None] = MULTIPART
    images: list[bytes] = Field(default=[])


class TextBody(bentoml.IODescriptor):  # type: ignore[misc]
    """One text, as JSON or as text/plain."""

    media_type: ClassVar[str | None] = JSON
    text: str = Field(default="", examples=["What a day!"])


class TextsBody(bentoml.IODescriptor):  # type: ignore[misc]
    """Several texts, as JSON."""

    media_type: ClassVar[str | None] = JSON
    texts: list[str] = Field(default=[], examples=[["What a day!", "Not again."]])


class PredictionOutput(Prediction, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict``."""


class BatchOutput(BatchPredictions, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict_batch``."""


class Application:
    """The application as BentoML's middleware.

    Args:
        app: BentoML's own application. It also gets the start and the end, and the paths that are its own.
        modality: Kind of input that the service takes.
    """

    def __init__(self, app: ASGIApp, modality: str) -> None:
        arguments = bentoml.use_arguments(ServiceArguments)
        given = {"artifact": arguments.artifact, "fallback": arguments.fallback}
        settings = read_settings({"bundle": arguments.folder(), **given})
        self._inner = app
        self._app = make_app(settings, modality=modality)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            async with self._app.router.lifespan_context(self._app):
                await self._inner(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] not in PASSED_ON:
            await self._app(scope, receive, send)
        else:
            await self._inner(scope, receive, send)


class _InProcess:
    """What the methods of a service do where no server is in front of them."""

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Return the predictor, which is loaded when it is first asked for."""
        arguments = bentoml.use_arguments(ServiceArguments)
        artifact, fallback = arguments.artifact, arguments.fallback
        return load_predictor(arguments.folder(), artifact=artifact, fallback=fallback)


@bentoml.service(name="graft", **OPTIONS)
class GraftService(_InProcess):
    """Classifies pictures with a verified bundle."""

    @bentoml.api(route="/predict", input_spec=ImageBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    def predict(self, image: bytes) -> Prediction:
        """Classify one picture: the raw body, or the multipart field `image`."""
        return self.predictor.predict(image)

    @bentoml.api(route="/predict_batch", input_spec=ImagesBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    def predict_batch(self, images: list[bytes]) -> BatchPredictions:
        """Classify many pictures: the multipart field `images`, repeated. One answer an item, in order."""
        return BatchPredictions(predictions=[self.predictor.predict_or_error(item) for item in images])


@bentoml.service(name="graft-text", **OPTIONS)
class GraftTextService(_InProcess):
    """Classifies texts with a verified bundle."""

    @bentoml.api(route="/predict", input_spec=TextBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    def predict(self, text: str) -> Prediction:
        """Classify one text: the JSON key `text`, or the body of text/plain."""
        return self.predictor.predict(text.encode())

    @bentoml.api(route="/predict_batch", input_spec=TextsBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    def predict_batch(self, texts: list[str]) -> BatchPredictions:
        """Classify many texts: the JSON key `texts`. One result or one error an item, in order."""
        return BatchPredictions(
            predictions=[self.predictor.predict_or_error(item.encode()) for item in texts]
        )


GraftService.add_asgi_middleware(Application, modality="image")  # type: ignore[attr-defined]
GraftTextService.add_asgi_middleware(Application, modality="text")  # type: ignore[attr-defined]
