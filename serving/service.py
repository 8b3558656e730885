"""The BentoML service: what BentoML packages, starts and describes, around the application that answers.

There is one service a kind of input. Each takes the BentoML argument ``bundle``, a bundle's folder, or ``model``, a tag in BentoML's
model store; ``artifact``, the name of a published artifact, by default the one that a benchmark recommends or the bundle's first; and
``fallback``, the name of one to serve where that cannot be run. What else can be set is set by environment variables
(:class:`serving.server.settings.Settings`).

:class:`serving.server.http.app.GraftApp` answers as middleware of BentoML's own application, which costs half a
millisecond a request; that is left with its start, its end, and ``/schema.json``. docs/adr/0009 has the measurements.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import bentoml
from pydantic import BaseModel, Field

from serving.model.predictor import Predictor, load_predictor
from serving.model.schemas import BatchPredictions, Prediction
from serving.server.bodies import image, text
from serving.server.http.app import GraftApp
from serving.server.http.asgi import App, Receive, Scope, Send
from serving.server.observing.logs import configure_logging
from serving.server.settings import read_settings

OPTIONS: dict[str, Any] = {"workers": 1, "metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}


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


class ImageBody(bentoml.IODescriptor):  # type: ignore[misc] # BentoML is untyped
    """One picture, as the field ``image`` of a form or as the raw body."""

    media_type: ClassVar[str | None] = image.MULTIPART
    image: bytes = b""


class ImagesBody(bentoml.IODescriptor):  # type: ignore[misc]
    """Pictures, in the field ``images`` of a form, repeated."""

    media_type: ClassVar[str | None] = image.MULTIPART
    images: list[bytes] = Field(default=[])


class TextBody(bentoml.IODescriptor):  # type: ignore[misc]
    """One text, as JSON or as text/plain."""

    media_type: ClassVar[str | None] = text.JSON
    text: str = Field(default="", examples=["What a day!"])


class TextsBody(bentoml.IODescriptor):  # type: ignore[misc]
    """Several texts, as JSON."""

    media_type: ClassVar[str | None] = text.JSON
    texts: list[str] = Field(default=[], examples=[["What a day!", "Not again."]])


class PredictionOutput(Prediction, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict``."""


class BatchOutput(BatchPredictions, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict_batch``."""


class Application:
    """The application as BentoML's middleware.

    Args:
        app: BentoML's own.
        modality: Of the service.
    """

    def __init__(self, app: App, modality: str) -> None:
        arguments = bentoml.use_arguments(ServiceArguments)
        settings = read_settings({"bundle": arguments.folder(), "artifact": arguments.artifact, "fallback": arguments.fallback})
        configure_logging(settings.log_level)
        self.answer = GraftApp(settings, modality=modality, inner=app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        await self.answer(scope, receive, send)


class _InProcess:
    """What the methods of a service do where no server is in front of them."""

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Loaded when it is first asked."""
        arguments = bentoml.use_arguments(ServiceArguments)
        return load_predictor(arguments.folder(), artifact=arguments.artifact, fallback=arguments.fallback)


@bentoml.service(name="graft", **OPTIONS)
class GraftService(_InProcess):
    """Classifies pictures with a verified bundle."""

    @bentoml.api(route="/predict", input_spec=ImageBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    def predict(self, image: bytes) -> Prediction:
        """Classify one picture: the raw body, or the multipart field `image`."""
        return self.predictor.predict(image)

    @bentoml.api(route="/predict_batch", input_spec=ImagesBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    def predict_batch(self, images: list[bytes]) -> BatchPredictions:
        """Classify many pictures: the multipart field `images`, repeated. One result or one error an item, in order."""
        return BatchPredictions(predictions=[self.predictor.predict_or_error(item) for item in images])


@bentoml.service(name="graft-text", **OPTIONS)
class GraftTextService(_InProcess):
    """Classifies texts with a verified bundle."""

    @bentoml.api(route="/predict", input_spec=TextBody, output_spec=PredictionOutput)  # type: ignore[untyped-decorator]
    def predict(self, text: str) -> Prediction:
        """Classify one text: the JSON key `text`, or the body of text/plain. An answer says so when the text was cut."""
        return self.predictor.predict(text.encode())

    @bentoml.api(route="/predict_batch", input_spec=TextsBody, output_spec=BatchOutput)  # type: ignore[untyped-decorator]
    def predict_batch(self, texts: list[str]) -> BatchPredictions:
        """Classify many texts: the JSON key `texts`. One result or one error an item, in order."""
        return BatchPredictions(predictions=[self.predictor.predict_or_error(item.encode()) for item in texts])


GraftService.add_asgi_middleware(Application, modality="image")  # type: ignore[attr-defined]
GraftTextService.add_asgi_middleware(Application, modality="text")  # type: ignore[attr-defined]
