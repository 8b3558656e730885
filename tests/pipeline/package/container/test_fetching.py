"""Files for an image, from a mirror on this machine."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.errors import GraftError
from pipeline.package.container import fetching
from pipeline.package.container.fetching import fetch_debian, fetch_python
from pipeline.package.container.locks import Pin
from tests.pipeline.package.container.packages import pin_of, write_deb, write_wheel


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served, and named as Debian's mirror; the cache is empty."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GRAFT_DEBIAN_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()


def test_package_is_downloaded_once(mirror: Path) -> None:
    pin = pin_of(write_deb(mirror, "tool", {"./usr/bin/tool": b"code"}), "tool")
    (first,) = fetch_debian([pin])
    (mirror / "tool.deb").unlink()
    (second,) = fetch_debian([pin])
    assert first == second
    assert first.read_bytes()[:8] == b"!<arch>\n"


def test_package_with_another_hash_is_not_used(mirror: Path, tmp_path: Path) -> None:
    path = write_deb(mirror, "tool", {"./usr/bin/tool": b"code"})
    pin = pin_of(path, "tool")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(GraftError, match=rf"and not {pin.sha256}, so it is not used"):
        fetch_debian([pin])
    assert not list((tmp_path / "cache").rglob("*.deb"))


def test_damaged_file_in_the_cache_is_downloaded_again(mirror: Path) -> None:
    pin = pin_of(write_deb(mirror, "tool", {"./usr/bin/tool": b"code"}), "tool")
    (path,) = fetch_debian([pin])
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert fetch_debian([pin]) == [path]
    assert path.read_bytes() == whole


def test_mirror_that_has_no_such_file_is_named_with_the_remedy(mirror: Path) -> None:
    pin = pin_of(write_deb(mirror, "tool", {}), "tool")
    (mirror / "tool.deb").unlink()
    with pytest.raises(GraftError, match=r"tool.deb: cannot be downloaded .*404.*GRAFT_DEBIAN_MIRROR"):
        fetch_debian([pin])


@pytest.mark.parametrize("address", ["deb.debian.org", "http://[", "http://host name/"])
def test_mirror_whose_address_is_none_is_told(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pin = pin_of(write_deb(mirror, "tool", {}), "tool")
    monkeypatch.setenv("GRAFT_DEBIAN_MIRROR", address)
    with pytest.raises(GraftError, match=r"cannot be downloaded .*begins with http://"):
        fetch_debian([pin])


def test_download_that_breaks_off_is_told(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = pin_of(write_deb(mirror, "tool", {}), "tool")
    monkeypatch.setattr(Quiet, "copyfile", lambda _, source, target: target.write(source.read(10)))
    with pytest.raises(GraftError, match=r"cannot be downloaded .IncompleteRead"):
        fetch_debian([pin])


def test_wheels_are_downloaded_by_pip_and_kept_by_their_hashes(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = pin_of(write_wheel(mirror, "tool", {"tool.py": b""}), "tool")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (path,) = fetch_python([pin])
    assert path == tmp_path / "cache" / "wheels" / f"{pin.sha256}.whl"
    monkeypatch.setattr(subprocess, "run", None)  # it is not asked again
    assert fetch_python([pin]) == [path]


def test_wheel_with_another_hash_is_refused_by_pip(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wheel(mirror, "tool", {"tool.py": b""})
    pin = pin_of(path, "tool")
    write_wheel(mirror, "tool", {"tool.py": b"changed"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(GraftError, match=rf"tool==1\.0 .*Expected sha256 {pin.sha256} Got .*PIP_INDEX_URL"):
        fetch_python([pin])


def test_index_that_lacks_a_package_is_told_with_how_to_name_another(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    pin = Pin("tool", "1.0", "0" * 64)
    with pytest.raises(GraftError, match=r"No matching distribution .*tool==1\.0.*PIP_INDEX_URL"):
        fetch_python([pin])


def test_environment_without_pip_is_told_with_how_to_get_it(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = pin_of(write_wheel(mirror, "tool", {}), "tool")
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(GraftError, match=r"No module named pip\. .*ensurepip"):
        fetch_python([pin])
    assert fetching.PLATFORM[0] == "--only-binary=:all:"


@pytest.mark.parametrize(
    ("mirror", "address"),
    [
        ("http://mirror/", "http://mirror/debian-security/pool/a.deb"),
        ("http://mirror/debian/", "http://mirror/debian-security/pool/a.deb"),
        (
            "https://snapshot/archive/{archive}/20261126T000000Z/",
            "https://snapshot/archive/debian-security/20261126T000000Z/pool/a.deb",
        ),
    ],
)
def test_mirror_may_have_its_archives_elsewhere(mirror: str, address: str) -> None:
    assert fetching.find_address(mirror, "debian-security/pool/a.deb") == address
