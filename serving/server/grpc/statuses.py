"""Refusals as gRPC statuses."""

from __future__ import annotations

from typing import Final

import grpc

from serving.model.errors import InputRefusedError, ServingError
from serving.server.http.exchange import Exchange
from serving.server.http.refusals import CLIENT_LEFT

UNKNOWN_METHOD: Final = 501
# By the HTTP status that the same refusal has there. What may be tried again is UNAVAILABLE, which clients'
# retry policies name.
_STATUSES: Final = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_LEFT: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    UNKNOWN_METHOD: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
# Seconds become https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback.
PUSHBACK: Final = "grpc-retry-pushback-ms"
CODE: Final = "graft-code"
REQUEST_ID: Final = "x-request-id"


def find_status(http_status: int) -> grpc.StatusCode:
    """Return the gRPC status that stands for an HTTP status."""
    if http_status < 400:
        return grpc.StatusCode.OK
    return _STATUSES.get(http_status, grpc.StatusCode.INVALID_ARGUMENT)


async def refuse(context: grpc.aio.ServicerContext, exchange: Exchange, error: ServingError) -> None:
    """End a call that is refused, and note the reason for logs and metrics.

    Args:
        context: The call.
        exchange: What is known of it.
        error: Why it is refused. Its status is UNAVAILABLE unless it is an InputRefusedError, which brings
            its own.

    Raises:
        grpc.aio.AbortError: Always: by it gRPC ends the call.
    """
    refusal = error if isinstance(error, InputRefusedError) else None
    exchange.status, exchange.code = refusal.status if refusal else 503, error.code
    trailing = [(REQUEST_ID, exchange.id), (CODE, error.code)]
    if exchange.status == 503:
        trailing.append((PUSHBACK, str(1000 * ((refusal and refusal.retry_after_s) or 1))))
    await context.abort(find_status(exchange.status), error.message, tuple(trailing))
