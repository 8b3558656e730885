"""A signature that cannot be written leaves the one that was there, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.run.sign import check_signature, sign
from pipeline.signing.writing import replace_files
from tests.signing import files_of, make_image, make_key


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files_of(folder)}


@pytest.mark.slow
def test_a_good_signature_stays_when_another_one_cannot_be_written(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with the receipts of the new one."""
    pair, other = make_key(tmp_path), make_key(tmp_path, "other")
    bundle = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))
    sign(bundle, pair.private)
    before, replace = contents_of(bundle), Path.replace

    def fail(path: Path, target: Path) -> Path:
        if target.name == "model.sig" and path.name.endswith(".partial"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(GraftError, match=r"model.sig: cannot be written .*nothing is signed"):
            sign(bundle, other.private)
    assert contents_of(bundle) == before
    check_signature(bundle, pair.public)
    sign(bundle, other.private)
    check_signature(bundle, other.public)


def test_files_that_were_not_there_are_not_there_after_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    with pytest.raises(IsADirectoryError):
        replace_files({one: b"1", two: b"2"})
    assert not files_of(tmp_path)


def test_either_all_files_are_replaced_or_removed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    replace_files({one: b"1", two: b"2"})
    replace_files({one: None, two: b"3"})
    assert contents_of(tmp_path) == {two: b"3"}


def test_what_a_killed_command_left_is_not_signed(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    (image / ".model.sig.01234567.partial").write_bytes(b"half")
    (image / ".receipts.sig.01234567.old").write_bytes(b"old")
    assert sign(image, pair.private).files == 6
    assert len(files_of(image)) == 7


def test_names_that_are_not_in_utf_8_are_not_signed(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    Path(os.fsdecode(os.fsencode(image) + b"/\xff")).write_bytes(b"")
    with pytest.raises(GraftError, match=r"\\xff: its name is not in UTF-8.* Rename it"):
        sign(image, pair.private)
    assert not (image / "model.sig").exists()


def test_no_signature_is_made_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    monkeypatch.setattr("pipeline.signing.signing.MOST_BYTES", 100)
    with pytest.raises(GraftError, match="Sign fewer files"):
        sign(image, pair.private)
    assert not (image / "model.sig").exists()
