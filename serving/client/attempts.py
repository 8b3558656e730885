"""One request on its way: its attempts and waits, and what is known of it when it is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from serving.client.answers import read_refusal, request_id, retry_after_s, server_ms
from serving.client.errors import ServiceUnavailableError, UnexpectedAnswerError
from serving.client.requests import Ask
from serving.client.retries import Retries

LOST = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
"""Refused or reset connections, and ones that end before the answer does."""


@dataclass(frozen=True)
class RoundTrip:
    """What is known of one answered request besides its answer.

    Args:
        path: What was asked for, such as ``/predict``.
        status: The HTTP status code.
        request_id: What the service's log calls it.
        attempts: Requests that it took.
        elapsed_s: Seconds from the first attempt to the answer, waits included.
        server_ms: Milliseconds that each stage took in the service: ``decode``, ``queue``, ``session`` and ``total``.
    """

    path: str
    status: int
    request_id: str | None
    attempts: int
    elapsed_s: float
    server_ms: dict[str, float]


class Attempts:
    """Decides after each attempt whether it was the last and how long to wait; sends and sleeps nothing itself.

    Args:
        ask: The request.
        url: The service's address, for messages.
        retries: How often, and after which waits.
        timeout_s: Seconds for all of it.
    """

    def __init__(self, ask: Ask, url: str, retries: Retries, timeout_s: float) -> None:
        self.answer: httpx.Response | None = None
        self.wait_s = 0.0
        self._ask, self._url, self._retries = ask, url, retries
        self._longest_s = min(timeout_s, retries.attempt_timeout_s)
        self._made = 0
        self._failure: tuple[str, str, httpx.Response | None] | None = None  # code, message, and the answer that says so
        self._started = time.monotonic()
        self._end = self._started + timeout_s

    def left_s(self) -> float:
        """Seconds that the next attempt may take."""
        left_s = min(self._end - time.monotonic(), self._retries.attempt_timeout_s)
        return max(left_s, 0.001)  # a sleep may last longer than was asked for

    def take(self, outcome: httpx.Response | Exception) -> None:
        """Note how an attempt ended: ``answer`` is there now, or ``wait_s`` is what to wait before the next.

        Raises:
            ServiceUnavailableError: It failed, and no attempt or no time is left.
            UnexpectedAnswerError: What came back is not HTTP as the client reads it.
        """
        self._made += 1
        if isinstance(outcome, httpx.Response):
            self._take_answer(outcome)
        elif isinstance(outcome, httpx.TimeoutException | TimeoutError):
            self._take_timeout(outcome)
        elif isinstance(outcome, LOST):
            what = f"{self._url} cannot be reached: {str(outcome) or type(outcome).__name__}."
            self._failure = "unreachable", f"{what} Check the address, and that the service runs there.", None
            self._wait(outcome)
        else:
            raise UnexpectedAnswerError("unexpected_answer", f"{self._url}: {outcome}", None, self._ask.request_id) from outcome

    def round_trip(self) -> RoundTrip:
        """What is known of the request, once it is answered."""
        assert self.answer is not None, "not answered yet"
        elapsed_s = time.monotonic() - self._started
        status, timings = self.answer.status_code, server_ms(self.answer)
        return RoundTrip(self._ask.path, status, request_id(self.answer), self._made, elapsed_s, timings)

    def _take_answer(self, response: httpx.Response) -> None:
        if response.status_code not in self._retries.statuses:
            self.answer = response
            return
        refusal, asked_s = read_refusal(response), retry_after_s(response)
        asks = f" It asks to wait {asked_s:g} s." if asked_s else ""
        what = f"{self._url}{self._ask.path} is not available: {refusal.message}{asks}"
        self._failure = refusal.code, f"{what} Try later, send less at once, or allow more attempts or time.", response
        self._wait(None, asked_s)

    def _take_timeout(self, cause: Exception) -> None:
        # The end of all time cuts the last attempt short, which says less than what the one before it met.
        if self._failure is None or time.monotonic() < self._end:
            what = f"{self._url}{self._ask.path} did not answer within {self._longest_s:g} s."
            self._failure = "timed_out", f"{what} Send less at once, or raise timeout_s.", None
        self._wait(cause)

    def _wait(self, cause: Exception | None, asked_s: float = 0.0) -> None:
        self.wait_s = self._retries.wait_s(self._made, asked_s)
        if self._made >= self._retries.attempts or time.monotonic() + self.wait_s >= self._end:
            raise self._unavailable() from cause

    def _unavailable(self) -> ServiceUnavailableError:
        assert self._failure is not None, "nothing failed yet"
        code, message, response = self._failure
        tried = f"Tried {self._made} times in {time.monotonic() - self._started:.1f} s." if self._made > 1 else "Tried once."
        status, named = (None, self._ask.request_id) if response is None else (response.status_code, request_id(response))
        return ServiceUnavailableError(code, f"{message} {tried}", status, named)
