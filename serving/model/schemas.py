"""What the service answers, as other programs read it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A frozen value that becomes a response's body."""

    model_config = ConfigDict(frozen=True)

    def to_bytes(self) -> bytes:
        """As JSON; what is not there is left out."""
        return self.model_dump_json(exclude_none=True).encode()

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON value."""
        return self.model_dump(exclude_none=True)


class ModelInfo(Body):
    """Which model answered, and which of its artifacts."""

    name: str
    version: str
    artifact: str


class Truncation(Body):
    """A text that was longer than the model reads: the tokens that it has, and those from its start that were used."""

    tokens: int
    used: int


class Prediction(Body):
    """One answer: the most probable label, and the calibrated probability of each.

    ``truncation`` is there only when something was cut off.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    model: ModelInfo
    truncation: Truncation | None = None

    def top(self, k: int) -> Prediction:
        """The same with the ``k`` most probable labels only, the most probable first."""
        best = sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:k]
        return self.model_copy(update={"probabilities": dict(best)})


class ErrorDetail(Body):
    """Why an input was refused: a stable code for programs, a message for people."""

    code: str
    message: str


class ErrorBody(Body):
    """The body of every refused request, and of every refused item of a batch."""

    error: ErrorDetail


class BatchPredictions(Body):
    """One prediction or one error an item, in the order of the request."""

    predictions: list[Prediction | ErrorBody]
