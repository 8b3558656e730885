"""The files of packages as an image takes them."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.package.container.entries import SITE, Member, read_control, read_deb, read_wheel, with_folders
from pipeline.package.container.layers import write_layer
from tests.pipeline.package.container.packages import write_deb, write_wheel


def test_package_is_read_below_usr_with_its_links_and_control(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, "tool", {"./lib/libtool.so.1": b"code", "./usr/lib/libtool.so": "libtool.so.1"})
    assert list(read_deb(deb)) == [
        Member("usr/lib/libtool.so.1", content=b"code"),
        Member("usr/lib/libtool.so", "link", target="libtool.so.1"),
    ]
    assert read_control(deb).startswith("Package: tool\n")


def test_rights_beyond_execution_are_dropped(tmp_path: Path) -> None:
    """A setuid program would be the one way for a user to get rights in a container."""
    deb = write_deb(tmp_path, "su", {"./usr/bin/su": b"code"}, mode=0o6755)
    layer = write_layer(tmp_path, read_deb(deb))
    with tarfile.open(tmp_path / "blobs" / "sha256" / layer.sha256) as archive:
        member = archive.getmember("usr/bin/su")
    assert stat.S_IMODE(member.mode) == 0o755
    assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "usr/../../etc/passwd"])
def test_path_that_leads_out_of_the_image_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GraftError, match="leads out of the image"):
        list(read_deb(write_deb(tmp_path, "bad", {name: b""})))
    with pytest.raises(GraftError, match="leads out of the image"):
        list(read_wheel(write_wheel(tmp_path, "bad", {name: b""})))


def test_wheel_is_installed_without_programs_and_headers(tmp_path: Path) -> None:
    members = {
        "tool/__init__.py": b"",
        "tool-1.0.data/purelib/tool/more.py": b"more",
        "tool-1.0.data/scripts/tool": b"#!python",
        "tool-1.0.data/headers/tool.h": b"",
    }
    entries = {entry.path: entry for entry in read_wheel(write_wheel(tmp_path, "tool", members))}
    assert set(entries) == {
        f"{SITE}/tool/__init__.py",
        f"{SITE}/tool/more.py",
        f"{SITE}/tool-1.0.dist-info/METADATA",
        f"{SITE}/tool-1.0.dist-info/WHEEL",
    }
    assert entries[f"{SITE}/tool/more.py"].content == b"more"


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"PK\x03\x04"])
def test_file_that_is_no_package_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "package"
    path.write_bytes(data)
    with pytest.raises(GraftError, match="is no package of Debian"):
        list(read_deb(path))
    with pytest.raises(GraftError, match="is no wheel"):
        list(read_wheel(path))


def test_file_cannot_also_be_a_folder() -> None:
    with pytest.raises(GraftError, match="is a file and a folder"):
        with_folders([Member("usr/bin", content=b""), Member("usr/bin/python3", content=b"")])
