"""Memory of a service that has answered large pictures: it is given back."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serving.model.runtimes.memory import MOST_KEPT_BYTES
from tests.conftest import make_picture
from tests.serving.processes import logged_service, wait_for, workers_of

pytestmark = pytest.mark.slow
SIDE_PX = 6900


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def large_picture() -> bytes:
    """A grey PNG of 48 million pixels in 46 kB, which decodes to 143 MB as RGB."""
    head = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(SIDE_PX * (SIDE_PX + 1)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_worker_gives_back_what_large_pictures_took(tiny_run: Path, tmp_path: Path) -> None:
    with logged_service(tiny_run / "bundle", tmp_path / "log", "--workers", "1") as service:
        (worker,) = workers_of(service.process).values()

        def ask(picture: bytes) -> int:
            return httpx.post(f"{service.url}/predict", content=picture, timeout=60).status_code

        assert ask(make_picture("bars", 1)) == 200
        before = worker.memory_info().rss
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(ask, [large_picture()] * 8)) == {200}
        wait_for(lambda: worker.memory_info().rss < before + 1.5 * MOST_KEPT_BYTES, 10)
