from __future__ import annotations

import logging
import socket

import pytest
from huggingface_hub import constants

from pipeline.modalities import hub
from pipeline.modalities.hub import cache_where_unreachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_client_is_kept_off_the_network_when_the_hub_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with caplog.at_level(logging.WARNING, "graft"), cache_where_unreachable():
            assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert "cannot be reached" in caplog.text


def test_client_is_left_alone_when_the_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with cache_where_unreachable():
            assert not constants.HF_HUB_OFFLINE


def test_nothing_is_looked_at_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with cache_where_unreachable():
        assert not constants.HF_HUB_OFFLINE
