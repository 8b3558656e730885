"""What is read from the layers of an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.budget.contents import Package, normalised, read_contents
from pipeline.budget.figures import judge_contents
from pipeline.errors import GraftError
from pipeline.recipe.budget import Budget
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


def test_compilers_of_any_version_are_found_and_modules_without_a_package(tmp_path: Path) -> None:
    tools = ("usr/bin/gcc-12", "usr/bin/x86_64-linux-gnu-gcc", "usr/bin/clang-14", "usr/bin/ld.bfd")
    hidden = ("usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "usr/libexec/gcc/x86_64-linux-gnu/13/cc1")
    layer = dict.fromkeys((*tools, *hidden), (b"", 493))
    module = {"usr/local/lib/python3.11/dist-packages/torch/__init__.py": (b"", 0o644)}
    base = {"var/lib/dpkg/status.d/gcc-12-base": (b"Package: gcc-12-base\nVersion: 12.2.0-14\n", 0o644)}
    contents = read_contents(write_layout(tmp_path / "layout", [{**SYSTEM, **base}, layer, module]))
    figures = {figure.name: figure for figure in judge_contents(contents, None, Budget())}
    assert figures["forbidden"].value == 7
    names = "cc1, cc1plus, clang-14, gcc-12, ld.bfd, torch, x86_64-linux-gnu-gcc"
    assert figures["forbidden"].note.startswith(f"{names} of ")
    plain = read_contents(write_layout(tmp_path / "plain", [{**SYSTEM, **base}]))
    assert "gcc-12-base" in plain.names()
    assert judge_contents(plain, None, Budget())[2].value == 0, "it holds no compiler"


@pytest.mark.parametrize("name", ["A..B", "a-_b", "a__.b", "a.b"])
def test_names_are_compared_as_pypi_does(name: str) -> None:
    assert normalised(name) == "a-b"
