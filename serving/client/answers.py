"""Reading of the service's responses into its own schemas."""

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
    """Return the prediction that a response holds.

    Raises:
        RequestRefusedError: The service refused the request.
        UnexpectedAnswerError: The response does not come from a Graft service.
    """
    return _read(Prediction, response)


def read_predictions(response: httpx.Response, items: int) -> list[Prediction | ErrorBody]:
    """Return the results of a batch: one prediction or error per item, in the order in which they were sent.

    Args:
        response: Response of the service.
        items: Number of items that were sent.

    Raises:
        RequestRefusedError: The service refused the request.
        UnexpectedAnswerError: The response does not come from a Graft service, or does not hold one result
            per item.
    """
    predictions = _read(BatchPredictions, response).predictions
    if len(predictions) != items:
        raise _unexpected(response, f"holds {len(predictions)} predictions for {items} inputs")
    return predictions


def read_refusal(response: httpx.Response) -> ErrorDetail:
    """Return why a request was refused.

    Where the response does not say so, as when a proxy refused the request, its status code becomes the error
    code, such as ``http_413``.
    """
    try:
        return ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        status = response.status_code
        return ErrorDetail(
            code=f"http_{status}",
            message=f"{response.url} answered {status} {response.reason_phrase} and gives no reason.",
        )


def request_id(response: httpx.Response) -> str | None:
    """Return the id of the request in the service's log: the one in the response, or else the one sent."""
    sent_id: str | None = response.request.headers.get("X-Request-ID")
    log_id: str | None = response.headers.get("X-Request-ID", sent_id)
    return log_id


def retry_after_s(response: httpx.Response) -> float:
    """Return the seconds that the service asks to wait before the next request.

    The header ``Retry-After`` holds seconds or a date. The result is 0 where it is missing or means nothing.
    """
    value = response.headers.get("Retry-After", "")
    seconds = _number(value)
    return max(0.0, _seconds_until(value) if seconds is None else seconds)


def server_ms(response: httpx.Response) -> dict[str, float]:
    """Return the milliseconds that each stage took in the service, by the stage's name.

    They come from the header ``Server-Timing``, whose entries without a duration are left out.
    """
    durations = {}
    for entry in response.headers.get("Server-Timing", "").split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            duration = _number(value.strip('"'))
            if key == "dur" and duration is not None:
                durations[name] = duration
    return durations


def _read(schema: type[_Read], response: httpx.Response) -> _Read:
    if response.has_redirect_location:
        # Not followed, since the key would go to an address that the caller never named.
        target = response.headers["Location"][:200]
        raise _unexpected(response, f"redirects to {target}: if that is the service, give its address")
    if response.is_error:
        refusal = read_refusal(response)
        raise RequestRefusedError(refusal.code, refusal.message, response.status_code, request_id(response))
    try:
        return schema.model_validate_json(response.content)
    except ValidationError as error:
        reason = f"is no {schema.__name__} but starts with {response.text[:80]!r}"
        raise _unexpected(response, reason) from error


def _unexpected(response: httpx.Response, reason: str) -> UnexpectedAnswerError:
    message = f"The answer of {response.url} {reason}. Check that a Graft service is at this address."
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
