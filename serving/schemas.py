"""What the service answers, as other programs read it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelInfo(_Frozen):
    """Which model answered."""

    name: str
    version: str


class Prediction(_Frozen):
    """One answer: the most probable label, and the calibrated probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]
    model: ModelInfo


class ErrorDetail(_Frozen):
    """Why an input was refused: a stable code for programs, a message for people."""

    code: str
    message: str


class ErrorBody(_Frozen):
    """The body of every refused request, and of every refused item of a batch."""

    error: ErrorDetail


class BatchPredictions(_Frozen):
    """One prediction or one error an item, in the order of the request."""

    predictions: list[Prediction | ErrorBody]
