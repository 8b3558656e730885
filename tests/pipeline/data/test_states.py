"""Content hashes of files, of which those that are as they were are not read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.data import states
from pipeline.data.states import hash_unchanged


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    names = ["a.png", "b\udcff.png", "c, d.png"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode(errors="surrogateescape"))
    return {name: tmp_path / name for name in names}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, where files settle at once."""
    names: list[str] = []
    hash_one = states._hash

    def noted(path: Path) -> str:
        names.append(path.name)
        return hash_one(path)

    monkeypatch.setattr(states, "_hash", noted)
    monkeypatch.setattr(states, "SETTLED_AFTER_NS", -1)
    return names


def test_hash_unchanged_reads_only_what_changed(
    files: dict[str, Path], tmp_path: Path, read: list[str]
) -> None:
    record = tmp_path / "states.csv"
    first = hash_unchanged(files, record)
    assert first == {
        name: hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest() for name in files
    }
    assert sorted(read) == sorted(files)
    read.clear()
    assert hash_unchanged(files, record) == first
    assert read == []
    before = files["a.png"].stat()
    files["a.png"].write_bytes(b"A.png")
    os.utime(files["a.png"], ns=(before.st_atime_ns, before.st_mtime_ns))
    second = hash_unchanged(files, record)
    assert read == ["a.png"], "neither its size nor the time that can be set tells that it changed"
    assert second == first | {"a.png": hashlib.sha256(b"A.png").hexdigest()}


def test_hash_unchanged_leaves_out_what_cannot_be_read(
    files: dict[str, Path], tmp_path: Path, read: list[str]
) -> None:
    strange = {"gone.png": tmp_path / "gone.png", "no\0name": tmp_path / "no\0name", "folder": tmp_path}
    assert set(hash_unchanged(files | strange, tmp_path / "states.csv")) == set(files)
    assert set(hash_unchanged(strange, tmp_path / "states.csv")) == set()
    assert sorted(read) == sorted([*files, tmp_path.name, tmp_path.name])


def test_hash_unchanged_reads_again_what_changed_just_before(
    files: dict[str, Path], tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that follows at once may leave the times as they are."""
    monkeypatch.setattr(states, "SETTLED_AFTER_NS", 10**15)
    for _ in range(2):
        hash_unchanged(files, tmp_path / "states.csv")
    assert sorted(read) == sorted([*files, *files])
