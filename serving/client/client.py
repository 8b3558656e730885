"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from serving.client.address import check_address, key_headers
from serving.client.answers import read_prediction, read_predictions
from serving.client.attempts import Attempts, RoundTrip
from serving.client.errors import ServiceUnavailableError
from serving.client.requests import Ask, Picture, ask_many, ask_one, ask_readiness, split
from serving.client.retries import DEFAULT, ONCE, UNTIL_READY, Retries
from serving.model.inputs.registry import find_kind
from serving.model.schemas import ErrorBody, Prediction


class Client:
    """A Graft service, as functions. It keeps connections open, and several threads may share it.

    Args:
        url: Address of the service, such as ``http://localhost:3000``.
        api_key: Key of the service, where it asks for one.
        timeout_s: Seconds for one request, all its attempts and waits included. httpx counts connecting,
            sending and each pause within an answer apart, so that a service that trickles can take longer.
        retries: Says how often a busy or unreachable service is asked again.
        on_answer: Called with the `RoundTrip` of every answered request, for timings and request ids.

    Raises:
        ValueError: The URL is no address, or no header can carry the key.

    Every prediction can raise `RequestRefusedError`, `ServiceUnavailableError` and `UnexpectedAnswerError`,
    which all are `ClientError`.

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
        self._url, self._timeout_s, self._retries, self._on_answer = (
            url.rstrip("/"),
            timeout_s,
            retries,
            on_answer,
        )

    def predict(
        self,
        kind: str,
        value: Any,  # noqa: ANN401 - each kind's own
        *,
        top_k: int | None = None,
        request_id: str | None = None,
    ) -> Prediction:
        """Classify one input of any kind that is installed here.

        Args:
            kind: Name of the kind, such as ``image``.
            value: The input: the content, path or open file of one that travels as a file, else a JSON value.
            top_k: Number of labels to give, the most probable ones; None for all.
            request_id: What the service's log shall call the request; None for a new random id.

        Raises:
            BundleError: No installed package brings that kind.
            TypeError: The value is no such input.
            OSError: Its file cannot be read.
        """
        return read_prediction(self._send(ask_one(find_kind(kind), value, top_k, request_id)))

    def predict_many(
        self, kind: str, values: Iterable[Any], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Classify any number of inputs: up to 256 a request, and up to half of the largest body.

        The arguments are those of `predict`. The requests follow one another.

        Returns:
            One prediction or, for an input that was refused, one error each, in order.
        """
        answers: list[Prediction | ErrorBody] = []
        sent = find_kind(kind)
        for part in split(sent, values):
            answers += read_predictions(self._send(ask_many(sent, part, top_k, request_id)), len(part))
        return answers

    def predict_image(
        self, picture: Picture, *, top_k: int | None = None, request_id: str | None = None
    ) -> Prediction:
        """Classify one picture: an encoded picture's bytes, a path object, or a file opened for bytes.

        The other arguments, and what is raised, are those of `predict`.
        """
        return self.predict("image", picture, top_k=top_k, request_id=request_id)

    def predict_text(
        self, text: str, *, top_k: int | None = None, request_id: str | None = None
    ) -> Prediction:
        """Classify one text. The other arguments are those of `predict`."""
        return self.predict("text", text, top_k=top_k, request_id=request_id)

    def predict_images(
        self, pictures: Iterable[Picture], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Classify any number of pictures, as `predict_many` does: at most 32 MiB a request."""
        return self.predict_many("image", pictures, top_k=top_k, request_id=request_id)

    def predict_texts(
        self, texts: Iterable[str], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Classify any number of texts, as `predict_many` does: at most 4 MiB a request."""
        return self.predict_many("text", texts, top_k=top_k, request_id=request_id)

    def is_ready(self) -> bool:
        """Return whether the service says that it can predict; asks once."""
        try:
            return self._exchange(ask_readiness(), ONCE, self._timeout_s).status_code == httpx.codes.OK
        except ServiceUnavailableError:
            return False

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return as soon as the service can predict.

        Raises:
            ServiceUnavailableError: It cannot after ``timeout_s`` seconds; the error has its reason.
        """
        self._exchange(ask_readiness(), UNTIL_READY, timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
