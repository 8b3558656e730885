"""What comes back: answers read into the service's own schemas."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from pydantic import ValidationError

from serving.client.errors import RequestRefusedError, UnexpectedAnswerError
from serving.model.schemas import BatchPredictions, Body, ErrorBody, ErrorDetail, Prediction

_Read = TypeVar("_Read", bound=Body)


def read_prediction(response: httpx.Response) -> Prediction:
    """The prediction in an answer.

    Raises:
        RequestRefusedError: The service refused the request.
        UnexpectedAnswerError: No Graft service answers like that.
    """
    return _read(Prediction, response)


def read_predictions(response: httpx.Response, items: int) -> list[Prediction | ErrorBody]:
    """One prediction or one error for each of the ``items`` sent, in their order; raises as :func:`read_prediction` does."""
    predictions = _read(BatchPredictions, response).predictions
    if len(predictions) != items:
        raise _unexpected(response, f"holds {len(predictions)} predictions for {items} inputs")
    return predictions


def read_refusal(response: httpx.Response) -> ErrorDetail:
    """Why a request was refused; where a proxy refused it, or nobody says why, what the status code says."""
    try:
        return ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        status = response.status_code
        return ErrorDetail(
            code=f"http_{status}", message=f"{response.url} answered {status} {response.reason_phrase} and does not say why."
        )


def request_id(response: httpx.Response) -> str | None:
    """What the service calls the request: what it was sent, unless it says otherwise."""
    sent: str | None = response.request.headers.get("X-Request-ID")
    named: str | None = response.headers.get("X-Request-ID", sent)
    return named


def retry_after_s(response: httpx.Response) -> float:
    """Seconds that the service asks to wait, given as seconds or as a date; 0 where it asks for nothing."""
    value = response.headers.get("Retry-After", "")
    seconds = _number(value)
    return max(0.0, _seconds_until(value) if seconds is None else seconds)


def server_ms(response: httpx.Response) -> dict[str, float]:
    """Milliseconds that each stage took in the service, from the header ``Server-Timing``; what has no duration is left out."""
    found = {}
    for entry in response.headers.get("Server-Timing", "").split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            duration = _number(value.strip('"'))
            if key == "dur" and duration is not None:
                found[name] = duration
    return found


def _read(kind: type[_Read], response: httpx.Response) -> _Read:
    if response.has_redirect_location:
        # Not followed: the key would go to an address that the caller never named.
        raise _unexpected(response, f"redirects to {response.headers['Location'][:200]}: if that is the service, give its address")
    if response.is_error:
        refusal = read_refusal(response)
        raise RequestRefusedError(refusal.code, refusal.message, response.status_code, request_id(response))
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise _unexpected(response, f"is no {kind.__name__} but starts with {response.text[:80]!r}") from error


def _unexpected(response: httpx.Response, what: str) -> UnexpectedAnswerError:
    message = f"The answer of {response.url} {what}. Check that a Graft service is at this address."
    return UnexpectedAnswerError("unexpected_answer", message, response.status_code, request_id(response))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(date: str) -> float:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
