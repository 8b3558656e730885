"""The layer of the operating system: packages of Debian, and the few files that installing would write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.parser import HeaderParser
from pathlib import Path

from pipeline.package.container.entries import Member, read_control, read_deb
from pipeline.package.container.pruning import prune

USER = 65532
"""The number of the user ``nonroot``, as images without a shell usually have it."""
CERTIFICATES = "usr/share/ca-certificates/mozilla/"
STATUS = "var/lib/dpkg/status.d"
_PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/tmp:/sbin/nologin\n"
_GROUP = f"root:x:0:\nnonroot:x:{USER}:\n"
_HOSTS = "hosts: files dns\n"
FOLDERS = ("dev", "proc", "run", "sys", "tmp", "var/tmp")
# Debian has everything below /usr, and links to there.
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def read_system(packages: Sequence[Path]) -> list[Member]:
    """Return the files of the layer.

    Args:
        packages: The packages of Debian, as ``.deb`` files.

    Raises:
        GraftError: One of them is no package.
    """
    entries = [entry for package in packages for entry in read_deb(package)]
    return [*prune(entries), *_written(entries), *map(_read_status, packages)]


def _written(entries: Sequence[Member]) -> Iterator[Member]:
    """Yield what the scripts of packages would write when they are installed."""
    yield from (Member(name, "folder") for name in FOLDERS)
    yield from (Member(name, "link", target=target) for name, target in LINKS.items())
    yield Member("usr/sbin", "folder")
    yield Member("usr/bin/python3", "link", target="python3.11")
    yield Member("etc/passwd", content=_PASSWD.encode())
    yield Member("etc/group", content=_GROUP.encode())
    yield Member("etc/nsswitch.conf", content=_HOSTS.encode())
    certificates = sorted(
        (entry for entry in entries if entry.path.startswith(CERTIFICATES)), key=lambda entry: entry.path
    )
    bundle = b"".join(entry.content.rstrip() + b"\n" for entry in certificates)
    yield Member("etc/ssl/certs/ca-certificates.crt", content=bundle)


def _read_status(package: Path) -> Member:
    """Return the record of an installed package, where scanners look for it in images without dpkg."""
    control = read_control(package)
    name = HeaderParser().parsestr(control, headersonly=True)["Package"]
    return Member(f"{STATUS}/{name}", content=(control.rstrip() + "\n").encode())
