"""Files and folders that are replaced as a whole, whatever happens to the one who writes them."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.files import atomic
from tests.pipeline.files.killing import LONG, NEW, OLD, content, names, write_plainly

ROOT = Path(__file__).parents[3]


def kill_at_every_step(scenario: str, folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.pipeline.files.killing", scenario, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    reports: list[dict[str, Any]] = json.loads(done.stdout)
    return reports


def replace_folder(place: Path, write: Callable[[Path], object]) -> None:
    with atomic.folder(place) as partial:
        (partial / "by-a-library").write_text("new")
        write(partial)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel stops writing in the middle of a file that grows longer, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_folder_is_whole_after_a_kill_at_any_step_and_new_once_it_was_ready(tmp_path: Path) -> None:
    reports = kill_at_every_step("replace", tmp_path)
    committed = [".model.ready" in report["left"] or report["is_new"] for report in reports]
    for report, is_new in zip(reports, committed, strict=True):
        for result in report["results"]:
            assert result == {"content": NEW if is_new else OLD, "left": ["model"]}, report["left"]
    assert committed == sorted(committed)
    met = {frozenset(report["left"]) for report in reports}
    assert met >= {
        frozenset({"model", ".model.partial"}),
        frozenset({"model", ".model.ready"}),
        frozenset({".model.old", ".model.ready"}),
        frozenset({".model.old", "model"}),
        frozenset({"model"}),
    }


def test_folder_that_is_new_is_whole_or_absent_after_a_kill_at_any_step(tmp_path: Path) -> None:
    reports = kill_at_every_step("create", tmp_path)
    committed = [".model.ready" in report["left"] or report["is_new"] for report in reports]
    for report, is_new in zip(reports, committed, strict=True):
        for result in report["results"]:
            expected = {"content": NEW, "left": ["model"]} if is_new else {"content": None, "left": []}
            assert result == expected, report["left"]
    assert committed == sorted(committed)
    assert {False, True} == set(committed)


def test_file_has_its_old_or_its_new_content_after_a_kill_at_any_step(tmp_path: Path) -> None:
    reports = kill_at_every_step("file", tmp_path)
    assert {report["content"] for report in reports} == {"old", "new"}
    assert {report["length"] for report in reports} == {3 * LONG}
    assert [report["left"] for report in reports] == [["file"]] * len(reports)


def test_recover_puts_back_an_old_folder_that_nothing_replaced(tmp_path: Path) -> None:
    write_plainly(tmp_path / ".model.old", OLD)
    atomic.recover(tmp_path)
    assert content(tmp_path / "model") == OLD
    assert names(tmp_path) == ["model"]


def test_recover_leaves_alone_what_no_writer_left(tmp_path: Path) -> None:
    for name in ("model/.notes.old", ".bashrc.old", "ready", "a.partial"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    atomic.recover(tmp_path)
    atomic.recover(tmp_path / "model")
    assert names(tmp_path) == before
    assert names(tmp_path / "model") == [".notes.old"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_folder_keeps_the_old_one_and_nothing_else_when_the_block_raises(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def write(_: Path) -> None:
        raise error

    write_plainly(tmp_path / "model", OLD)
    with pytest.raises(error):
        replace_folder(tmp_path / "model", write)
    assert content(tmp_path / "model") == OLD
    assert names(tmp_path) == ["model"]


def test_folder_keeps_the_old_one_and_nothing_else_when_the_disk_is_full(tmp_path: Path) -> None:
    write_plainly(tmp_path / "model", OLD)
    with pytest.raises(OSError, match=r"model.partial/weights'$"), files_of_at_most(1000):
        replace_folder(tmp_path / "model", lambda new: atomic.write_bytes(new / "weights", bytes(2000)))
    assert content(tmp_path / "model") == OLD
    assert names(tmp_path) == ["model"]


def test_folder_keeps_the_old_one_and_nothing_else_when_it_cannot_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plainly(tmp_path / "model", OLD)
    with pytest.raises(OSError, match="No space left on device") as raised:
        replace_folder(tmp_path / "model", lambda _: monkeypatch.setattr(os, "fsync", full_disk))
    assert raised.value.filename == str(tmp_path / ".model.partial" / "by-a-library")
    assert content(tmp_path / "model") == OLD
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("renamed", ["model", ".model.ready"])
def test_folder_that_is_ready_is_put_in_place_later_when_renaming_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: str
) -> None:
    write_plainly(tmp_path / "model", OLD)
    rename = Path.rename

    def refuse_one(self: Path, target: Path) -> Path:
        if self.name == renamed:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse_one)
        with pytest.raises(PermissionError, match=renamed), atomic.folder(tmp_path / "model") as partial:
            write_plainly(partial, NEW)
        assert content(tmp_path / "model") == OLD
    atomic.recover(tmp_path)
    assert content(tmp_path / "model") == NEW
    assert names(tmp_path) == ["model"]


def test_folder_replaces_a_link_and_leaves_its_target_alone(tmp_path: Path) -> None:
    write_plainly(tmp_path / "elsewhere", OLD)
    (tmp_path / "model").symlink_to("elsewhere")
    with atomic.folder(tmp_path / "model") as partial:
        write_plainly(partial, NEW)
    assert content(tmp_path / "model") == NEW
    assert content(tmp_path / "elsewhere") == OLD


def test_write_bytes_keeps_the_old_content_and_names_the_file_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(OSError) as raised, files_of_at_most(1000):  # noqa: PT011 - the kernel's text differs
        atomic.write_bytes(path, bytes(2000))
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_write_bytes_leaves_one_whole_content_when_two_write_at_once(tmp_path: Path) -> None:
    path, contents = tmp_path / "cache", [bytes([value]) * 50_000 for value in range(2)]
    path.write_bytes(contents[0])

    def write(data: bytes) -> None:
        for _ in range(40):
            atomic.write_bytes(path, data)

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, data) for data in contents]
        found = {path.read_bytes() for _ in iter(lambda: all(writer.done() for writer in writers), True)}
    for writer in writers:
        writer.result()
    assert found <= set(contents)
    assert names(tmp_path) == ["cache"]


def test_write_json_writes_readable_text_and_refuses_what_json_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "value.json"
    atomic.write_json(path, {"größe": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n  "größe": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(path, float("nan"))
    assert json.loads(path.read_bytes()) == {"größe": [1, None]}
    assert names(path.parent) == ["value.json"]


def test_write_arrays_are_read_back_and_refuse_objects(tmp_path: Path) -> None:
    path, logits = tmp_path / "logits.npz", np.arange(6, dtype=np.float32).reshape(2, 3)
    atomic.write_arrays(path, logits=logits, names=np.array(["ä", "b"]))
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        atomic.write_arrays(path, logits=np.array([object()]))
    with np.load(path, allow_pickle=False) as stored:
        assert stored["logits"].dtype == np.float32
        np.testing.assert_array_equal(stored["logits"], logits)
        assert stored["names"].tolist() == ["ä", "b"]
    assert names(tmp_path) == ["logits.npz"]


def test_remove_folder_leaves_nothing_and_takes_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "bundle" / "receipts").mkdir(parents=True)
    (tmp_path / ".bundle.partial").mkdir()
    for _ in range(2):
        atomic.remove_folder(tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []
