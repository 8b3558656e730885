"""The typed client of a Graft service, sync and async. It needs only httpx and pydantic."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("httpx") is None:
    raise ImportError(
        "The client needs httpx. Install it: pip install 'graft-ml[client]', or httpx itself.", name="httpx"
    )

from serving.client.async_client import AsyncClient
from serving.client.attempts import RoundTrip
from serving.client.client import Client
from serving.client.errors import (
    ClientError,
    RequestRefusedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from serving.client.requests import Picture
from serving.client.retries import Retries
from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "ErrorBody",
    "ErrorDetail",
    "ModelInfo",
    "Picture",
    "Prediction",
    "RequestRefusedError",
    "Retries",
    "RoundTrip",
    "ServiceUnavailableError",
    "Truncation",
    "UnexpectedAnswerError",
]
