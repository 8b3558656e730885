"""Where a run's samples are read: below the root that it names, or in what it stores itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.files.places import read_place, store_contents, write_root


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_read_says_what_is_missing_and_how_to_name_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(DataError, match=r"a\.png: .*does not say which folder.*--data-root DIR"):
        read_place(run).read("a.png", "0" * 64)
    write_root(run, tmp_path / "pictures")
    with pytest.raises(DataError, match=rf"a\.png: .*has its data in {tmp_path}/pictures\..*--data-root DIR"):
        read_place(run).read("a.png", "0" * 64)


def test_store_contents_keeps_what_is_asked_and_nothing_else(tmp_path: Path) -> None:
    run, contents = RunFolder(tmp_path / "run"), [b"%d" % index for index in range(150)]
    assert not read_place(run).stores
    store_contents(run, [(sha256_of(content), lambda content=content: content) for content in contents])
    place = read_place(run)
    assert [place.read("t.parquet:1", sha256_of(content)) for content in contents] == contents

    def refuse() -> bytes:
        raise AssertionError("what is stored is not read again")

    store_contents(run, [(sha256_of(content), refuse) for content in contents[:3]])
    assert {path.name for path in run.store.rglob("*") if path.is_file()} == set(map(sha256_of, contents[:3]))


def test_store_contents_mends_what_is_damaged_and_refuses_what_changed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    store_contents(run, [(sha256_of(b"a"), lambda: b"a")])
    run.stored(sha256_of(b"a")).write_bytes(b"")
    store_contents(run, [(sha256_of(b"a"), lambda: b"a")])
    assert run.stored(sha256_of(b"a")).read_bytes() == b"a"
    with pytest.raises(DataError, match="changed while it was stored"):
        store_contents(run, [(sha256_of(b"b"), lambda: b"other")])
    assert not run.stored(sha256_of(b"b")).exists()
