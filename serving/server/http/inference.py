"""``/v2``: the Open Inference Protocol, which the clients of KServe and Triton speak.

A picture is an element of the input ``image``, BYTES of shape [n]: the bytes of its file; in JSON as base64, which the input's parameter
``content_type`` must then say. Or ``image`` is UINT8 of shape [n, height, width, 3]: RGB pixels that have the model's size already.
A text is an element of the input ``text``, BYTES of shape [n], in UTF-8.
The protocol has no errors of single items: one that is refused refuses the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Final

import numpy as np

from serving.model.errors import InputRefusedError
from serving.model.inputs.image import ImageInputSpec
from serving.model.manifest import Manifest
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.bodies.body import read_body
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.http.exchange import Exchange
from serving.server.http.messages import HEADER_LENGTH, InferRequest, Output, Wanted, decode_request, encode_response
from serving.server.http.predict import MAX_ITEMS
from serving.server.http.replies import JSON, Reply, json_reply
from serving.server.http.tensors import BASE64, Tensor, read_items, read_pixels, shown
from serving.server.observing.metrics import Metrics

EXTENSIONS: Final = ("binary_tensor_data", "classification")
PROBABILITIES, LABEL = "probabilities", "label"
PACKAGE: Final = "graft-ml"


class InferenceHandlers:
    """Answers requests of the protocol.

    Args:
        live: The model that answers.
        engine: What runs it.
        metrics: Where predictions are counted.
    """

    def __init__(self, live: LiveModel, engine: Engine, metrics: Metrics) -> None:
        self._live = live
        self._engine = engine
        self._metrics = metrics
        self._server = {"name": "graft", "version": _version(), "extensions": EXTENSIONS}

    async def server(self, _: Exchange) -> Reply:
        """What the server is."""
        return json_reply(self._server)

    async def ready(self, _: Exchange) -> Reply:
        """That requests are answered; why not is the error that the model raises."""
        return json_reply({"ready": bool(self._live.predictor)})

    async def model(self, exchange: Exchange) -> Reply:
        """What the model takes and gives."""
        predictor = self._find(exchange)
        return json_reply(describe_model(predictor.manifest, predictor.artifact.runtime))

    async def model_ready(self, exchange: Exchange) -> Reply:
        """That this model answers."""
        return json_reply({"name": self._find(exchange).manifest.name, "ready": True})

    async def infer(self, exchange: Exchange) -> Reply:
        """Classify the items of one tensor."""
        predictor = self._find(exchange)
        self._engine.admission.require_room()
        request = decode_request(await read_body(exchange.request), exchange.header(HEADER_LENGTH.encode()))
        wanted = choose_outputs(request)
        exchange.timings = timings = Timings()
        answers = await self._predict(predictor, request, timings)
        self._metrics.count_predictions([*answers], timings)
        body, header_length = encode_response(_facts(predictor, request, answers), make_outputs(wanted, answers, predictor.manifest.labels))
        headers = {"server-timing": timings.to_header(exchange.seconds())}
        if header_length is None:
            return Reply(body, media_type=JSON, headers=headers)
        return Reply(body, media_type="application/octet-stream", headers=headers | {HEADER_LENGTH: str(header_length)})

    def _find(self, exchange: Exchange) -> Predictor:
        """The model that a path names; raises InputRefusedError where that is not what answers."""
        predictor = self._live.predictor
        name, version = exchange.parameters["name"], exchange.parameters.get("version", predictor.version)
        if name != predictor.manifest.name:
            raise InputRefusedError(
                "unknown_model", f"There is no model `{shown(name)}` here, but `{predictor.manifest.name}`.", status=404
            )
        if version != predictor.version:
            text = f"There is no version `{shown(version)}` of `{name}` here, but `{predictor.version}`."
            raise InputRefusedError("unknown_version", text, status=404)
        return predictor

    async def _predict(self, predictor: Predictor, request: InferRequest, timings: Timings) -> list[Prediction]:
        spec = predictor.manifest.input
        tensor = _only_input(request, spec.modality)
        if tensor.datatype == "UINT8" and isinstance(spec, ImageInputSpec):
            pixels = read_pixels(tensor, spec.height, spec.width, MAX_ITEMS)
            return [predictor.describe(row) for row in await self._engine.score(predictor, list(pixels), timings)]
        if tensor.datatype != "BYTES":
            raise tensor.refuse(f"its datatype must be BYTES{' or UINT8' if spec.modality == 'image' else ''}.")
        if spec.modality == "image" and isinstance(tensor.data, list) and tensor.parameters.get("content_type") != BASE64:
            raise tensor.refuse('JSON holds no picture files. Send binary data, or base64 with the parameters {"content_type": "base64"}.')
        answers = await self._engine.predict_many(predictor, read_items(tensor, MAX_ITEMS), timings)
        return [_require_answer(tensor, index, answer) for index, answer in enumerate(answers)]


def describe_model(manifest: Manifest, platform: str) -> dict[str, object]:
    """A model's metadata."""
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": platform,
        "inputs": [{"name": manifest.input.modality, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(manifest.labels)]},
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
        ],
    }


def choose_outputs(request: InferRequest) -> Sequence[Wanted]:
    """What to answer; raises InputRefusedError for what there is not, or twice, or not as classes."""
    names = [wanted.name for wanted in request.outputs]
    unknown = next((name for name in names if name not in {PROBABILITIES, LABEL}), None)
    if unknown is not None:
        raise InputRefusedError("unknown_output", f"There is no output `{shown(unknown)}`, but `{PROBABILITIES}` and `{LABEL}`.")
    if len(set(names)) < len(names):
        raise InputRefusedError("duplicate_output", "An output is named twice.")
    if any(wanted.name == LABEL and wanted.classes for wanted in request.outputs):
        raise InputRefusedError("bad_classification", f"`classification` ranks `{PROBABILITIES}` only.")
    return request.outputs or [Wanted(PROBABILITIES, request.binary), Wanted(LABEL, request.binary)]


def make_outputs(wanted: Sequence[Wanted], answers: Sequence[Prediction], labels: Sequence[str]) -> list[Output]:
    """Tensors of predictions."""
    rows = np.array([[answer.probabilities[label] for label in labels] for answer in answers], np.float32)
    outputs = []
    for one in wanted:
        if one.name == LABEL:
            outputs.append(Output(LABEL, (len(answers),), [answer.label for answer in answers], one.binary))
        elif one.classes:
            count = min(one.classes, len(labels))
            best = np.argsort(-rows, axis=1, kind="stable")[:, :count].tolist()
            ranked = [f"{row[index]:f}:{index}:{labels[index]}" for row, indices in zip(rows, best, strict=True) for index in indices]
            outputs.append(Output(PROBABILITIES, (len(answers), count), ranked, one.binary))
        else:
            outputs.append(Output(PROBABILITIES, rows.shape, rows, one.binary))
    return outputs


def _facts(predictor: Predictor, request: InferRequest, answers: Sequence[Prediction]) -> dict[str, object]:
    parameters: dict[str, object] = {"artifact": predictor.artifact.name}
    cut = sum(answer.truncation is not None for answer in answers)
    if cut:
        parameters["truncated_items"] = cut
    facts: dict[str, object] = {"model_name": predictor.manifest.name, "model_version": predictor.version, "parameters": parameters}
    return facts if request.id is None else {"id": request.id} | facts


def _only_input(request: InferRequest, name: str) -> Tensor:
    if len(request.inputs) != 1 or request.inputs[0].name != name:
        given = ", ".join(f"`{shown(tensor.name)}`" for tensor in request.inputs[:5]) or "none"
        raise InputRefusedError("wrong_inputs", f"The model takes one input, `{name}`; the request has {given}.")
    return request.inputs[0]


def _require_answer(tensor: Tensor, index: int, answer: Prediction | ErrorBody) -> Prediction:
    if isinstance(answer, ErrorBody):
        raise InputRefusedError(answer.error.code, f"Element {index} of `{tensor.name}`: {answer.error.message}")
    return answer


def _version() -> str:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # a packaged service holds the source only
        return "unknown"
