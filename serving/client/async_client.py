"""The client for asyncio."""

from __future__ import annotations

import asyncio
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
    read_picture,
    split_pictures,
    split_texts,
)
from serving.client.retries import DEFAULT, ONCE, UNTIL_READY, Retries
from serving.model.schemas import ErrorBody, Prediction


class AsyncClient:
    """A Graft service, as coroutines of asyncio. Everything is as with `Client`; files are read in a thread.

    ``timeout_s`` is exact here: whatever runs at its end is cancelled.
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
        self._url, self._timeout_s, self._retries, self._on_answer = url.rstrip("/"), timeout_s, retries, on_answer

    async def predict_image(self, picture: Picture, *, top_k: int | None = None, request_id: str | None = None) -> Prediction:
        """As `Client.predict_image`."""
        content = picture if isinstance(picture, bytes) else await asyncio.to_thread(read_picture, picture)
        return read_prediction(await self._send(ask_picture(content, top_k, request_id)))

    async def predict_text(self, text: str, *, top_k: int | None = None, request_id: str | None = None) -> Prediction:
        """As `Client.predict_text`."""
        return read_prediction(await self._send(ask_text(text, top_k, request_id)))

    async def predict_images(
        self, pictures: Iterable[Picture], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """As `Client.predict_images`."""
        found: list[Prediction | ErrorBody] = []
        parts = split_pictures(pictures)
        while part := await asyncio.to_thread(next, parts, None):
            found += read_predictions(await self._send(ask_pictures(part, top_k, request_id)), len(part))
        return found

    async def predict_texts(
        self, texts: Iterable[str], *, top_k: int | None = None, request_id: str | None = None
    ) -> list[Prediction | ErrorBody]:
        """As `Client.predict_texts`."""
        found: list[Prediction | ErrorBody] = []
        for part in split_texts(texts):
            found += read_predictions(await self._send(ask_texts(part, top_k, request_id)), len(part))
        return found

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        try:
            return (await self._exchange(ask_readiness(), ONCE, self._timeout_s)).status_code == httpx.codes.OK
        except ServiceUnavailableError:
            return False

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """As `Client.wait_until_ready`."""
        await self._exchange(ask_readiness(), UNTIL_READY, timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
