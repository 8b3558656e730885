"""Errors that the client raises."""

from __future__ import annotations

from serving.model.errors import ServingError


class ClientError(ServingError):
    """Base of all errors raised by :mod:`serving.client`.

    Args:
        code: Stable name of what went wrong: the service's own, or the client's where the service gave none.
        message: What happened, where, and what to do about it.
        status: The HTTP status code of the last answer, or None when there was none.
        request_id: What the service's log calls the request.
    """

    def __init__(self, code: str, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.request_id = request_id
        self.args = (code, message, status, request_id)  # so that a process pool can carry the error home

    def __str__(self) -> str:
        answered = "" if self.status is None else f"HTTP {self.status}, "
        named = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({answered}{self.code}{named})"


class RequestRefusedError(ClientError):
    """The service refused the request, and would refuse it again."""


class ServiceUnavailableError(ClientError):
    """The service could not be reached, was busy or did not answer in time, and the retries are used up."""


class UnexpectedAnswerError(ClientError):
    """An answer that no Graft service gives: a redirect, another program's page, or fewer predictions than inputs."""
