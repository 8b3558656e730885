"""Errors that the client raises."""

from __future__ import annotations

from serving.model.errors import ServingError


class ClientError(ServingError):
    """Base of all errors raised by :mod:`serving.client`.

    Args:
        code: Stable, machine-readable name of what went wrong. It is the service's own, or the client's where
            the service gave none.
        message: What happened, where, and what to do about it.
        status: HTTP status code of the last response, or None when there was none.
        request_id: Id of the request in the service's log, or None when it is not known.
    """

    def __init__(
        self, code: str, message: str, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.request_id = request_id
        self.args = (code, message, status, request_id)  # lets a process pool pickle the error

    def __str__(self) -> str:
        status = "" if self.status is None else f"HTTP {self.status}, "
        request = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({status}{self.code}{request})"


class RequestRefusedError(ClientError):
    """The service refused the request, and would refuse it again."""


class ServiceUnavailableError(ClientError):
    """The service could not be reached, was busy or did not answer in time, and the retries are used up."""


class UnexpectedAnswerError(ClientError):
    """The response is none that a Graft service gives.

    It is a redirect, the page of another program, or a batch with another number of results than inputs.
    """
