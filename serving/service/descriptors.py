"""The inputs and outputs of the service's methods, as BentoML describes them to its clients."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import bentoml
from pydantic import Field, PlainValidator, WithJsonSchema

from serving.model.errors import PICKLE_REFUSED
from serving.model.schemas import BatchPredictions, Prediction
from serving.service.uploads import Upload

MULTIPART, JSON = "multipart/form-data", "application/json"
# BentoML's client sends what `/schema.json` calls a file as a part of a form.
Picture = Annotated[Upload, PlainValidator(Upload.of), WithJsonSchema({"type": "file", "format": "image"})]


class _Answered(bentoml.IODescriptor):  # type: ignore[misc] # BentoML is untyped
    """An input that BentoML never reads from a request, because the application has answered before."""

    @classmethod
    async def from_http_request(cls, request: Any, serde: Any) -> Any:  # noqa: ANN401, ARG003 - as in BentoML
        """Refuse: BentoML would fetch the URL that a client sends in a file's place, and unpickle."""
        raise bentoml.exceptions.InvalidArgument("The application of this service reads requests itself.")


class _Form(_Answered):
    """An input whose fields are files of a multipart form."""

    media_type: ClassVar[str | None] = MULTIPART

    @classmethod
    def __pydantic_init_subclass__(cls) -> None:
        """Tell BentoML's client which fields are files; it would know them by the types Path and Image."""
        super().__pydantic_init_subclass__()
        cls.multipart_fields = list(cls.model_fields)

    def model_dump(self, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's options
        """Refuse: BentoML asks for this where it would pickle, which is so between services of one Bento."""
        raise bentoml.exceptions.InvalidArgument(f"pickle_refused: {PICKLE_REFUSED}")


class ImageBody(_Form):
    """One picture, as the field ``image`` of a form or as the raw body."""

    image: Picture


class ImagesBody(_Form):
    """Pictures, in the field ``images`` of a form, repeated."""

    images: list[Picture]


class TextBody(_Answered):
    """One text, as JSON or as text/plain."""

    media_type: ClassVar[str | None] = JSON
    text: str = Field(examples=["What a day!"])


class TextsBody(_Answered):
    """Several texts, as JSON."""

    media_type: ClassVar[str | None] = JSON
    texts: list[str] = Field(examples=[["What a day!", "Not again."]])


class PredictionOutput(Prediction, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict``."""


class BatchOutput(BatchPredictions, bentoml.IODescriptor):  # type: ignore[misc]
    """The answer of ``/predict_batch``."""
