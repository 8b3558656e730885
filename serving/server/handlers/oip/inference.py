"""What the protocol says of the model and how it answers, whichever face the request came by.

An element of the input tensor is one input: its bytes, in JSON as base64 unless they are text, or its numbers
where its kind has a tensor of numbers. The protocol has no errors of single items: one that is refused
refuses the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import numpy as np

from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import ArrayTensor, BytesTensor, InputKind
from serving.model.manifest import Manifest
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.handlers.oip.codec import Output
from serving.server.handlers.oip.messages import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestOutput,
    ServerMetadata,
    TensorMetadata,
)
from serving.server.handlers.oip.tensors import BASE64, Tensor, read_array, read_items
from serving.server.http.bodies import shown

EXTENSIONS: Final = ("binary_tensor_data", "classification")
PROBABILITIES, LABEL = "probabilities", "label"
PACKAGE: Final = "graft-ml"


@dataclass(frozen=True)
class Answer:
    """The answer to a request for inference.

    Attributes:
        response: All of it but its outputs.
        outputs: The outputs that were asked for.
        predictions: What they were made of.
    """

    response: InferResponse
    outputs: list[Output]
    predictions: list[Prediction]


class Inference:
    """Answers the protocol's questions.

    Args:
        live: The model that answers.
        engine: What runs it.
    """

    def __init__(self, live: LiveModel, engine: Engine) -> None:
        self.live = live
        self._engine = engine

    def require_room(self) -> None:
        """Raise InputRefusedError while the queue is full, before a request is read."""
        self._engine.admission.require_room()

    def find(self, name: str, version: str | None) -> Predictor:
        """Return the model of a name and a version.

        Args:
            name: Name of the model.
            version: Version of the model; None for the one that is served.

        Raises:
            InputRefusedError: Another one answers here.
            ServingError: No model is ready.
        """
        predictor = self.live.predictor
        if name != predictor.manifest.name:
            text = f"There is no model `{shown(name)}` here, but `{predictor.manifest.name}`."
            raise InputRefusedError("unknown_model", text, status=404)
        if version not in {None, predictor.version}:
            text = (
                f"There is no version `{shown(version or '')}` of `{name}` here, but `{predictor.version}`."
            )
            raise InputRefusedError("unknown_version", text, status=404)
        return predictor

    async def answer(
        self, predictor: Predictor, request: InferRequest, tensors: list[Tensor], timings: Timings
    ) -> Answer:
        """Classify the items of one tensor.

        Args:
            predictor: Model to run.
            request: The request.
            tensors: Its input tensors, with their data.
            timings: Timings that are increased by what each stage takes.

        Raises:
            InputRefusedError: The request or an item is invalid, or the queue is full.
        """
        wanted = choose_outputs(request)
        predictions = await self._predict(predictor, tensors, timings)
        outputs = [_make_output(each, request, predictions, predictor.manifest.labels) for each in wanted]
        return Answer(_make_response(predictor, request, predictions), outputs, predictions)

    async def _predict(
        self, predictor: Predictor, tensors: list[Tensor], timings: Timings
    ) -> list[Prediction]:
        tensor = _only_input(tensors, predictor.kind.name)
        form = _find_form(tensor, predictor.kind)
        if isinstance(form, ArrayTensor):
            rows = read_array(tensor, form, form.item_shape(predictor.manifest.input))
            scores = await self._engine.score(predictor, list(rows), timings)
            return [predictor.describe(row) for row in scores]
        if isinstance(tensor.data, list) and not form.is_text and tensor.content_type != BASE64:
            remedy = 'Send binary data, or base64 with the parameters {"content_type": "base64"}.'
            raise tensor.refuse(f"JSON holds no {predictor.kind.noun} files. {remedy}")
        answers = await self._engine.predict_many(predictor, read_items(tensor), timings)
        return [_require_answer(tensor, index, answer) for index, answer in enumerate(answers)]


def describe_server() -> ServerMetadata:
    """Return the server's metadata."""
    return ServerMetadata(name="graft", version=_version(), extensions=EXTENSIONS)


def describe_model(manifest: Manifest, kind: InputKind, platform: str) -> ModelMetadata:
    """Return a model's metadata."""
    form = kind.tensors[0]
    item_shape = form.item_shape(manifest.input) if isinstance(form, ArrayTensor) else ()
    return ModelMetadata(
        name=manifest.name,
        versions=(manifest.version,),
        platform=platform,
        inputs=(TensorMetadata(name=kind.name, datatype=form.datatype, shape=(-1, *item_shape)),),
        outputs=(
            TensorMetadata(name=PROBABILITIES, datatype="FP32", shape=(-1, len(manifest.labels))),
            TensorMetadata(name=LABEL, datatype="BYTES", shape=(-1,)),
        ),
    )


def choose_outputs(request: InferRequest) -> list[RequestOutput]:
    """Return the outputs to answer with.

    Raises:
        InputRefusedError: An output is unknown, is named twice, or cannot be ranked.
    """
    names = [output.name for output in request.outputs]
    unknown = next((name for name in names if name not in {PROBABILITIES, LABEL}), None)
    if unknown is not None:
        text = f"There is no output `{shown(unknown)}`, but `{PROBABILITIES}` and `{LABEL}`."
        raise InputRefusedError("unknown_output", text)
    if len(set(names)) < len(names):
        raise InputRefusedError("duplicate_output", "An output is named twice.")
    if any(output.name == LABEL and output.parameters.classification for output in request.outputs):
        raise InputRefusedError("bad_classification", f"`classification` ranks `{PROBABILITIES}` only.")
    return request.outputs or [RequestOutput(name=PROBABILITIES), RequestOutput(name=LABEL)]


def _make_output(
    wanted: RequestOutput, request: InferRequest, answers: Sequence[Prediction], labels: Sequence[str]
) -> Output:
    """Return one output tensor of predictions."""
    asked, default = wanted.parameters.binary_data, request.parameters.binary_data_output
    is_binary = default if asked is None else asked
    if wanted.name == LABEL:
        return Output(LABEL, (len(answers),), [answer.label for answer in answers], is_binary)
    rows = np.array([[answer.probabilities[label] for label in labels] for answer in answers], np.float32)
    classes = wanted.parameters.classification
    if classes is None:
        return Output(PROBABILITIES, rows.shape, rows, is_binary)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :classes]
    pairs = [(row, index) for row, indices in zip(rows, best.tolist(), strict=True) for index in indices]
    ranked = [f"{row[index]:f}:{index}:{labels[index]}" for row, index in pairs]
    return Output(PROBABILITIES, best.shape, ranked, is_binary)


def _make_response(
    predictor: Predictor, request: InferRequest, answers: Sequence[Prediction]
) -> InferResponse:
    parameters: dict[str, object] = {"artifact": predictor.artifact.name}
    truncated = sum(answer.truncation is not None for answer in answers)
    if truncated:
        parameters["truncated_items"] = truncated
    name, version = predictor.manifest.name, predictor.version
    return InferResponse(
        id=request.id, model_name=name, model_version=version, parameters=parameters, outputs=()
    )


def _only_input(tensors: list[Tensor], name: str) -> Tensor:
    if len(tensors) != 1 or tensors[0].name != name:
        given = ", ".join(f"`{shown(tensor.name)}`" for tensor in tensors[:5]) or "none"
        text = f"The model takes one input, `{name}`; the request has {given}."
        raise InputRefusedError("wrong_inputs", text)
    return tensors[0]


def _find_form(tensor: Tensor, kind: InputKind) -> BytesTensor | ArrayTensor:
    form = next((form for form in kind.tensors if form.datatype == tensor.datatype), None)
    if form is None:
        raise tensor.refuse(f"its datatype must be {' or '.join(form.datatype for form in kind.tensors)}.")
    return form


def _require_answer(tensor: Tensor, index: int, answer: Prediction | ErrorBody) -> Prediction:
    if isinstance(answer, ErrorBody):
        text = f"Element {index} of `{tensor.name}`: {answer.error.message}"
        raise InputRefusedError(answer.error.code, text)
    return answer


def _version() -> str:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # a packaged service holds the source only
        return "unknown"
