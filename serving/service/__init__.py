"""The BentoML service: what BentoML packages, starts and describes, around the application that answers.

There is one service a kind of input, and :func:`make_service` makes the one of a Bento, which is named after
its run. Each takes the BentoML arguments of :class:`serving.service.arguments.ServiceArguments`. Everything
else is set by environment variables (:class:`serving.server.settings.Settings`).

The application of :mod:`serving.server.app.build` answers as middleware of BentoML's own, which would cost
half a millisecond a request. BentoML's is left with its start, its end, and what users mount on it.
docs/adr/0009 has the measurements.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import bentoml

from serving.model.predictor import Predictor, load_predictor
from serving.model.schemas import BatchPredictions, Prediction
from serving.service.application import Application
from serving.service.arguments import read_service_settings
from serving.service.deployment import prepare_deployment
from serving.service.description import ModelService
from serving.service.descriptors import (
    BatchOutput,
    ImageBody,
    ImagesBody,
    PredictionOutput,
    TextBody,
    TextsBody,
)
from serving.service.uploads import read_picture

OPTIONS: Final[dict[str, Any]] = {
    "workers": 1,
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}


class _InProcess:
    """What the methods of a service do where no server is in front of them."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def prepare() -> None:
        """Refuse what could never start, before any worker starts."""
        prepare_deployment()

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Return the predictor, which is loaded when it is first asked for."""
        settings = read_service_settings()
        return load_predictor(
            settings.bundle,
            artifact=settings.artifact,
            fallback=settings.fallback,
            trusted_keys=settings.trusted_keys,
        )


class Pictures(_InProcess):
    """Classifies pictures with a verified bundle."""

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/predict", input_spec=ImageBody, output_spec=PredictionOutput
    )
    def predict(self, image: Any) -> Prediction:  # noqa: ANN401 - see read_picture
        """Classify one picture: the raw body, or the multipart field `image`."""
        return self.predictor.predict(read_picture(image))

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/predict_batch", input_spec=ImagesBody, output_spec=BatchOutput
    )
    def predict_batch(self, images: Any) -> BatchPredictions:  # noqa: ANN401
        """Classify many pictures: the multipart field `images`, repeated. One answer an item, in order."""
        pictures = [read_picture(image) for image in images]
        return BatchPredictions(predictions=self.predictor.predict_many(pictures))


class Texts(_InProcess):
    """Classifies texts with a verified bundle."""

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/predict", input_spec=TextBody, output_spec=PredictionOutput
    )
    def predict(self, text: str) -> Prediction:
        """Classify one text: the JSON key `text`, or the body of text/plain."""
        return self.predictor.predict(text.encode())

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/predict_batch", input_spec=TextsBody, output_spec=BatchOutput
    )
    def predict_batch(self, texts: list[str]) -> BatchPredictions:
        """Classify many texts: the JSON key `texts`. One result or one error an item, in order."""
        return BatchPredictions(predictions=self.predictor.predict_many([item.encode() for item in texts]))


METHODS: Final = {"image": Pictures, "text": Texts}


def make_service(modality: str, name: str, **options: Any) -> ModelService:  # noqa: ANN401 - of BentoML
    """Return a BentoML service, which the module that calls this must keep in a variable.

    Args:
        modality: Kind of input that it takes, ``image`` or ``text``.
        name: Name of the service.
        options: What ``bentoml.service`` takes, such as ``labels``, ``envs`` and ``resources``.
    """
    make = bentoml.service(name=name, service_class=ModelService, **OPTIONS | options)
    service: ModelService = make(METHODS[modality])
    service.add_asgi_middleware(Application, service=service, modality=modality)
    return service


GraftService = make_service("image", "graft")
GraftTextService = make_service("text", "graft-text")
