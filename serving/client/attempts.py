"""The attempts of one request: whether another follows and when, and what is known of them in the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from serving.client.answers import read_refusal, request_id, retry_after_s, server_ms
from serving.client.errors import ServiceUnavailableError, UnexpectedAnswerError
from serving.client.requests import Ask
from serving.client.retries import Retries

LOST = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
"""Errors of connections that are refused or reset, or that end before the response does."""


@dataclass(frozen=True)
class RoundTrip:
    """What is known of one answered request besides its response.

    Args:
        path: Path of the request below the service's address, such as ``/predict``.
        status: HTTP status code of the response.
        request_id: Id of the request in the service's log.
        attempts: Number of attempts that were made, the last included.
        elapsed_s: Time from the first attempt to the response, waits included, in seconds.
        server_ms: Time that each stage took in the service, in milliseconds: ``decode``, ``queue``,
            ``session`` and ``total``.
    """

    path: str
    status: int
    request_id: str | None
    attempts: int
    elapsed_s: float
    server_ms: dict[str, float]


class Attempts:
    """Decides after each attempt of a request whether another follows, and how long to wait before it.

    It neither sends requests nor waits itself, so that the sync and the async client share it.

    Args:
        ask: The request.
        url: Address of the service, for messages.
        retries: Number of attempts, and the waits between them.
        timeout_s: Longest time for the request, all attempts and waits included, in seconds.

    Attributes:
        answer: The final response, or None as long as there is none.
        wait_s: Time to wait before the next attempt, in seconds.
    """

    def __init__(self, ask: Ask, url: str, retries: Retries, timeout_s: float) -> None:
        self.answer: httpx.Response | None = None
        self.wait_s = 0.0
        self._ask, self._url, self._retries = ask, url, retries
        self._longest_s = min(timeout_s, retries.attempt_timeout_s)
        self._made = 0
        # Code and message of the last failure, and the response that reports it, if any.
        self._failure: tuple[str, str, httpx.Response | None] | None = None
        self._started = time.monotonic()
        self._end = self._started + timeout_s

    def left_s(self) -> float:
        """Return the longest time that the next attempt may take, in seconds; it is always above 0."""
        left_s = min(self._end - time.monotonic(), self._retries.attempt_timeout_s)
        return max(left_s, 0.001)  # a sleep may last longer than it should

    def take(self, outcome: httpx.Response | Exception) -> None:
        """Record how an attempt ended.

        Then either ``answer`` is the response, or ``wait_s`` is the time to wait before the next attempt.

        Args:
            outcome: The response, or the error that the attempt raised.

        Raises:
            ServiceUnavailableError: The attempt failed, and no attempt or no time is left.
            UnexpectedAnswerError: The response is not HTTP that the client can read.
        """
        self._made += 1
        if isinstance(outcome, httpx.Response):
            self._take_answer(outcome)
        elif isinstance(outcome, httpx.TimeoutException | TimeoutError):
            self._take_timeout(outcome)
        elif isinstance(outcome, LOST):
            text = f"{self._url} cannot be reached: {str(outcome) or type(outcome).__name__}."
            self._failure = "unreachable", f"{text} Check the address, and that the service runs there.", None
            self._wait(outcome)
        else:
            text = f"{self._url}: {outcome}"
            raise UnexpectedAnswerError("unexpected_answer", text, None, self._ask.request_id) from outcome

    def round_trip(self) -> RoundTrip:
        """Return what is known of the request; it must be answered."""
        assert self.answer is not None, "not answered yet"
        elapsed_s = time.monotonic() - self._started
        status, timings = self.answer.status_code, server_ms(self.answer)
        return RoundTrip(self._ask.path, status, request_id(self.answer), self._made, elapsed_s, timings)

    def _take_answer(self, response: httpx.Response) -> None:
        if response.status_code not in self._retries.statuses:
            self.answer = response
            return
        refusal, after_s = read_refusal(response), retry_after_s(response)
        hint = f" It asks to wait {after_s:g} s." if after_s else ""
        text = f"{self._url}{self._ask.path} is not available: {refusal.message}{hint}"
        remedy = "Try later, send less at once, or allow more attempts or time."
        self._failure = refusal.code, f"{text} {remedy}", response
        self._wait(None, after_s)

    def _take_timeout(self, cause: Exception) -> None:
        # Where the time for all attempts cuts the last one short, the failure of the one before says more.
        if self._failure is None or time.monotonic() < self._end:
            text = f"{self._url}{self._ask.path} did not answer within {self._longest_s:g} s."
            self._failure = "timed_out", f"{text} Send less at once, or raise timeout_s.", None
        self._wait(cause)

    def _wait(self, cause: Exception | None, after_s: float = 0.0) -> None:
        """Set the wait before the next attempt; raises ServiceUnavailableError when there is none."""
        self.wait_s = self._retries.wait_s(self._made, after_s)
        if self._made >= self._retries.attempts or time.monotonic() + self.wait_s >= self._end:
            raise self._unavailable() from cause

    def _unavailable(self) -> ServiceUnavailableError:
        assert self._failure is not None, "nothing failed yet"
        code, message, response = self._failure
        elapsed_s = time.monotonic() - self._started
        tried = f"{self._made} times in {elapsed_s:.1f} s" if self._made > 1 else "once"
        status = None if response is None else response.status_code
        log_id = self._ask.request_id if response is None else request_id(response)
        return ServiceUnavailableError(code, f"{message} Tried {tried}.", status, log_id)
