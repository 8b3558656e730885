"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from serving.client.address import check_address, key_headers
from serving.client.answers import read_prediction, read_predictions
from serving.client.attempts import Attempts, RoundTrip
from serving.client.errors import ServiceUnavailableError
from serving.client.requests import Ask, Picture, ask_many, ask_one, ask_readiness, read_file, split
from serving.client.retries import DEFAULT, ONCE, UNTIL_READY, Retries
from serving.model.inputs.kind import FileBody
from serving.model.inputs.registry import find_kind
from serving.model.schemas import ErrorBody, Prediction


class AsyncClient:
    """A Graft service, as coroutines of asyncio. Everything is as with `Client`; files are read in a thread.

    ``timeout_s`` is exact here: what still runs at its end is cancelled.
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
        self._http = httpx.AsyncClient(base_url=check_address(url), headers=key_headers(api_key))
        self._url, self._timeout_s, self._retries, self._on_answer = (
            url.rstrip("/"),
            timeout_s,
            retries,
            on_answer,
        )

    async def predict(
        self,
        kind: str,
        value: Any,  # noqa: ANN401 - each kind's own
        *,
        top_k: int | None = None,
        request_id: str | None = None,
    ) -> Prediction:
        """Do as `Client.predict` does."""
        sent = find_kind(kind)
        if isinstance(sent.body, FileBody) and not isinstance(value, bytes):
            value = await asyncio.to_thread(read_file, value, sent.noun)
        return read_prediction(await self._send(ask_one(sent, value, top_k, request_id)))

    async def predict_many(
        self, kind: str, values: Iterable[Any], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Do as `Client.predict_many` does."""
        answers: list[Prediction | ErrorBody] = []
        sent = find_kind(kind)
        parts, reads_files = split(sent, values), isinstance(sent.body, FileBody)
        while part := await asyncio.to_thread(next, parts, None) if reads_files else next(parts, None):
            answers += read_predictions(await self._send(ask_many(sent, part, top_k, request_id)), len(part))
        return answers

    async def predict_image(
        self, picture: Picture, *, top_k: int | None = None, request_id: str | None = None
    ) -> Prediction:
        """Do as `Client.predict_image` does."""
        return await self.predict("image", picture, top_k=top_k, request_id=request_id)

    async def predict_text(
        self, text: str, *, top_k: int | None = None, request_id: str | None = None
    ) -> Prediction:
        """Do as `Client.predict_text` does."""
        return await self.predict("text", text, top_k=top_k, request_id=request_id)

    async def predict_images(
        self, pictures: Iterable[Picture], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Do as `Client.predict_images` does."""
        return await self.predict_many("image", pictures, top_k=top_k, request_id=request_id)

    async def predict_texts(
        self, texts: Iterable[str], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """Do as `Client.predict_texts` does."""
        return await self.predict_many("text", texts, top_k=top_k, request_id=request_id)

    async def is_ready(self) -> bool:
        """Do as `Client.is_ready` does."""
        try:
            return (
                await self._exchange(ask_readiness(), ONCE, self._timeout_s)
            ).status_code == httpx.codes.OK
        except ServiceUnavailableError:
            return False

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Do as `Client.wait_until_ready` does."""
        await self._exchange(ask_readiness(), UNTIL_READY, timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, ask: Ask) -> httpx.Response:
        return await self._exchange(ask, self._retries, self._timeout_s)

    async def _exchange(self, ask: Ask, retries: Retries, timeout_s: float) -> httpx.Response:
        attempts = Attempts(ask, self._url, retries, timeout_s)
        while attempts.answer is None:
            await asyncio.sleep(attempts.wait_s)
            attempts.take(await self._attempt(ask, attempts.left_s()))
        if self._on_answer:
            self._on_answer(attempts.round_trip())
        return attempts.answer

    async def _attempt(self, ask: Ask, timeout_s: float) -> httpx.Response | Exception:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._http.request(**ask.arguments(), timeout=timeout_s)
        except (httpx.RequestError, TimeoutError) as error:
            return error
