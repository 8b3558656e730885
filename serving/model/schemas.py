"""The JSON bodies of the service's responses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Body(BaseModel):
    """An immutable value that is sent as the body of a response."""

    model_config = ConfigDict(frozen=True)

    def to_bytes(self) -> bytes:
        """Return the value as UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()

    def to_json(self) -> dict[str, JsonValue]:
        """Return the value as a JSON-compatible dict, without the fields that are None."""
        return self.model_dump(exclude_none=True)


class ModelInfo(Body):
    """The name and version of the model that made a prediction, and the artifact that was run."""

    name: str
    version: str
    artifact: str


class Truncation(Body):
    """The report on a text that is longer than the model's limit and was cut at the end."""

    tokens: int = Field(description="Number of tokens of the whole text.")
    used: int = Field(description="Number of tokens that the model received.")


class Prediction(Body):
    """The prediction for one input: the most probable label, and the calibrated probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]
    model: ModelInfo
    truncation: Truncation | None = Field(default=None, description="Present only if the input was cut.")

    def top(self, k: int) -> Prediction:
        """Return a copy with only the ``k`` most probable labels, in descending order of probability."""
        ranked = sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:k]
        return self.model_copy(update={"probabilities": dict(ranked)})


class ErrorDetail(Body):
    """The reason for a refusal: a stable code for programs, and a message for people."""

    code: str = Field(examples=["empty_input"])
    message: str = Field(examples=["The input is empty. Send at least one."])


class ErrorBody(Body):
    """The body of the response to a refused request, and the entry for a refused item of a batch."""

    error: ErrorDetail


class BatchPredictions(Body):
    """One prediction or one error for each item of a batch, in the order of the request."""

    predictions: list[Prediction | ErrorBody]
