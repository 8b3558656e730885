"""The client for code that waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import httpx

from serving.client.address import check_address, key_headers
from serving.client.answers import read_prediction, read_predictions
from serving.client.attempts import Attempts, RoundTrip
from serving.client.errors import ServiceUnavailableError
from serving.client.requests import (
    Ask,
    Picture,
    ask_picture,
    ask_pictures,
    ask_readiness,
    ask_text,
    ask_texts,
    split_pictures,
    split_texts,
)
from serving.client.retries import DEFAULT, ONCE, UNTIL_READY, Retries
from serving.model.schemas import ErrorBody, Prediction


class Client:
    """A Graft service, as functions. It keeps connections open, and several threads may share it.

    Args:
        url: The service's address, such as ``http://localhost:3000``.
        api_key: The service's key, where it asks for one.
        timeout_s: Seconds for one request, all its attempts and waits included. httpx counts connecting, sending and each pause
            within an answer apart, so that a service that trickles can take longer.
        retries: How often a busy or unreachable service is asked again.
        on_answer: Called with the `RoundTrip` of every answered request, for timings and request ids.

    Raises:
        ValueError: No address, or a key that no header can carry.

    Every prediction can raise `RequestRefusedError`, `ServiceUnavailableError` and `UnexpectedAnswerError`, all of them `ClientError`.

    Example:
        >>> with Client("http://localhost:3000") as client:
        ...     client.predict_image(Path("cat.png")).label
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries = DEFAULT,
        on_answer: Callable[[RoundTrip], None] | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=check_address(url), headers=key_headers(api_key))
        self._url, self._timeout_s, self._retries, self._on_answer = url.rstrip("/"), timeout_s, retries, on_answer

    def predict_image(self, picture: Picture, *, top_k: int | None = None, request_id: str | None = None) -> Prediction:
        """Classify one picture.

        Args:
            picture: An encoded picture's bytes, a path object, or a file opened for bytes. A string is never taken for a path.
            top_k: Give only that many labels, the most probable ones.
            request_id: What the service's log shall call the request; by default a new random one.

        Raises:
            TypeError: The picture is none of these.
            OSError: Its file cannot be read.
        """
        return read_prediction(self._send(ask_picture(picture, top_k, request_id)))

    def predict_text(self, text: str, *, top_k: int | None = None, request_id: str | None = None) -> Prediction:
        """Classify one text. The other arguments are those of `predict_image`."""
        return read_prediction(self._send(ask_text(text, top_k, request_id)))

    def predict_images(
        self, pictures: Iterable[Picture], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Classify any number of pictures, as one request each 256 of them or 32 MiB, one after another.

        Returns:
            One prediction or, for a picture that was refused, one error each, in order.

        Raises:
            TypeError: An element is no picture.
            OSError: A file cannot be read.
        """
        found: list[Prediction | ErrorBody] = []
        for part in split_pictures(pictures):
            found += read_predictions(self._send(ask_pictures(part, top_k, request_id)), len(part))
        return found

    def predict_texts(
        self, texts: Iterable[str], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Classify any number of texts, as one request each 256 of them or 4 MiB; answers as `predict_images` does."""
        found: list[Prediction | ErrorBody] = []
        for part in split_texts(texts):
            found += read_predictions(self._send(ask_texts(part, top_k, request_id)), len(part))
        return found

    def is_ready(self) -> bool:
        """Whether the service says that it can predict; asks once."""
        try:
            return self._exchange(ask_readiness(), ONCE, self._timeout_s).status_code == httpx.codes.OK
        except ServiceUnavailableError:
            return False

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return as soon as the service can predict; raises ServiceUnavailableError, with its reason, after ``timeout_s`` seconds."""
        self._exchange(ask_readiness(), UNTIL_READY, timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(self, ask: Ask) -> httpx.Response:
        return self._exchange(ask, self._retries, self._timeout_s)

    def _exchange(self, ask: Ask, retries: Retries, timeout_s: float) -> httpx.Response:
        attempts = Attempts(ask, self._url, retries, timeout_s)
        while attempts.answer is None:
            time.sleep(attempts.wait_s)
            attempts.take(self._attempt(ask, attempts.left_s()))
        if self._on_answer:
            self._on_answer(attempts.round_trip())
        return attempts.answer

    def _attempt(self, ask: Ask, timeout_s: float) -> httpx.Response | Exception:
        try:
            return self._http.request(**ask.arguments(), timeout=timeout_s)
        except httpx.RequestError as error:
            return error
