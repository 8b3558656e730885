"""Handlers of the protocol's routes, below ``/v2``.

An element of the input tensor is one input: its bytes, in JSON as base64 unless they are text, or its numbers
where its kind has a tensor of numbers. The protocol has no errors of single items: one that is refused
refuses the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import ArrayTensor, BytesTensor, InputKind
from serving.model.manifest import Manifest
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.handlers.oip.codec import HEADER_LENGTH, Output, decode_request, encode_response
from serving.server.handlers.oip.messages import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    RequestOutput,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from serving.server.handlers.oip.tensors import BASE64, Tensor, read_array, read_items
from serving.server.http.bodies import shown
from serving.server.http.exchange import Exchange
from serving.server.http.refusals import JSON, BodyResponse

EXTENSIONS: Final = ("binary_tensor_data", "classification")
PROBABILITIES, LABEL = "probabilities", "label"
PACKAGE: Final = "graft-ml"


class InferenceHandlers:
    """Answers requests of the protocol.

    Args:
        live: The model that answers.
        engine: What runs it.
    """

    def __init__(self, live: LiveModel, engine: Engine) -> None:
        self._live = live
        self._engine = engine
        self._server = ServerMetadata(name="graft", version=_version(), extensions=EXTENSIONS)

    async def server(self, _: Request) -> Response:
        """Say what the server is."""
        return BodyResponse(self._server)

    async def ready(self, _: Request) -> Response:
        """Say that requests are answered; why they are not is the error that the model raises."""
        self._live.require_ready()
        return BodyResponse(ServerReady())

    async def model(self, request: Request) -> Response:
        """Say what the model takes and gives."""
        predictor = self._find(request)
        return BodyResponse(describe_model(predictor.manifest, predictor.kind, predictor.artifact.runtime))

    async def model_ready(self, request: Request) -> Response:
        """Say that this model answers."""
        return BodyResponse(ModelReady(name=self._find(request).manifest.name))

    async def infer(self, request: Request) -> Response:
        """Classify the items of one tensor."""
        predictor = self._find(request)
        self._engine.admission.require_room()
        message, tensors = decode_request(await request.body(), request.headers.get(HEADER_LENGTH))
        wanted = choose_outputs(message)
        exchange = Exchange.of(request)
        exchange.timings = timings = Timings()
        answers = await self._predict(predictor, tensors, timings)
        exchange.answers = answers
        outputs = [_make_output(each, message, answers, predictor.manifest.labels) for each in wanted]
        body, header_length = encode_response(_make_response(predictor, message, answers), outputs)
        headers = {"server-timing": timings.to_header(exchange.seconds())}
        if header_length is None:
            return Response(body, headers=headers, media_type=JSON)
        headers[HEADER_LENGTH] = str(header_length)
        return Response(body, headers=headers, media_type="application/octet-stream")

    def _find(self, request: Request) -> Predictor:
        """Return the model that a path names; raises InputRefusedError where another one answers."""
        predictor = self._live.predictor
        name, version = request.path_params["name"], request.path_params.get("version", predictor.version)
        if name != predictor.manifest.name:
            text = f"There is no model `{shown(name)}` here, but `{predictor.manifest.name}`."
            raise InputRefusedError("unknown_model", text, status=404)
        if version != predictor.version:
            text = f"There is no version `{shown(version)}` of `{name}` here, but `{predictor.version}`."
            raise InputRefusedError("unknown_version", text, status=404)
        return predictor

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
