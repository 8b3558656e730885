"""What is read from the layers of an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.budget.contents import Package, read_contents
from pipeline.errors import GraftError
from tests.pipeline.budget.layouts import SYSTEM, write_layout


def test_contents_are_the_packages_of_both_kinds_with_their_sources(tmp_path: Path) -> None:
    contents = read_contents(write_layout(tmp_path / "layout"))
    assert contents.packages == (
        Package("Debian", "libc6", "2.36-9+deb12u10", "glibc", "2.36-9+deb12u10"),
        Package("Debian", "libgcc-s1", "12.2.0-14+b1", "gcc-12", "12.2.0-14"),
        Package("PyPI", "jinja2", "3.1.3", "jinja2", "3.1.3"),
        Package("PyPI", "numpy", "2.4.6", "numpy", "2.4.6"),
    )
    assert contents.release == "12"


def test_model_is_counted_apart_from_the_rest(tmp_path: Path) -> None:
    contents = read_contents(write_layout(tmp_path / "layout"))
    assert contents.model_mb == 0.5
    assert 1.0 < contents.size_mb < 1.001


def test_programs_are_what_can_be_executed_in_their_folders(tmp_path: Path) -> None:
    compilers = {"usr/bin/gcc": (b"", 0o755), "usr/bin/notes": (b"", 0o644), "usr/share/git": (b"", 0o755)}
    contents = read_contents(write_layout(tmp_path / "layout", [{**SYSTEM, **compilers}]))
    assert contents.programs == {"python3.11", "gcc"}
    assert "gcc" in contents.names()
    assert "git" not in contents.names()


def test_damaged_image_is_refused_with_the_remedy(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout")
    largest = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:200])
    with pytest.raises(GraftError, match=r"cannot be read .*graft package RUN --image"):
        read_contents(layout)


def test_folder_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="is no OCI layout of one image"):
        read_contents(tmp_path)
