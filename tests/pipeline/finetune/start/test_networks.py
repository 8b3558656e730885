"""Exported backbones that are kept: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.finetune.start import networks
from pipeline.finetune.start.networks import keep_network, read_network


def test_network_is_found_under_its_own_key(tmp_path: Path) -> None:
    assert read_network(tmp_path / "nothing", "a") is None
    keep_network(tmp_path, "a", b"one")
    keep_network(tmp_path, "ab", b"two")
    assert [read_network(tmp_path, key) for key in ("a", "ab", "b")] == [b"one", b"two", None]


def test_damaged_network_is_removed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_network(tmp_path, "a", b"one")
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"ohe")
    assert read_network(tmp_path, "a") is None
    assert "is damaged and is made anew" in caplog.text
    assert not path.exists()


def test_network_is_not_kept_where_it_is_large_or_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    keep_network(tmp_path / "file", "a", b"one")
    monkeypatch.setattr(networks, "MOST_BYTES", 2)
    keep_network(tmp_path, "a", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
