"""The files of an image as values, read from packages of Debian, from wheels and from folders."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.errors import GraftError

AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
MERGED = frozenset({"bin", "sbin", "lib", "lib64"})
SITE = "usr/local/lib/python3.11/dist-packages"
"""The folder in which Debian's Python looks for packages that are not Debian's."""


@dataclass(frozen=True)
class Member:
    """A file, folder or symbolic link of an image; all belong to root and have the same times.

    Attributes:
        path: Its path from the image's root, without a slash at the start or the end.
        kind: What it is.
        content: The bytes of a file.
        target: What a link points to.
        is_executable: Whether a file may be executed. Rights beyond that are not kept, setuid bits least.
    """

    path: str
    kind: Literal["file", "folder", "link"] = "file"
    content: bytes = b""
    target: str = ""
    is_executable: bool = False


def read_deb(path: Path) -> Iterator[Member]:
    """Read the files of a binary package of Debian (deb(5)); what its scripts would do is not done.

    Args:
        path: The ``.deb`` file.

    Raises:
        GraftError: It is none, or names a path outside the image.
    """
    for name, data in _read_ar(path):
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if member.name.strip("./"):
                        yield _from_member(archive, member, path)
            return
    raise GraftError(f"{path}: is no package of Debian: it has no data.tar.")


def read_control(path: Path) -> str:
    """Return the control file of a binary package of Debian, which describes it (deb-control(5)).

    Args:
        path: The ``.deb`` file.

    Raises:
        GraftError: It is none.
    """
    for name, data in _read_ar(path):
        if name.startswith("control.tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                file = archive.extractfile("./control")
                return file.read().decode() if file else ""
    raise GraftError(f"{path}: is no package of Debian: it has no control.tar.")


def _read_ar(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive of ar(1): each has a header of 60 bytes and begins at an even place."""
    data = path.read_bytes()
    if not data.startswith(AR_MAGIC):
        raise GraftError(f"{path}: is no package of Debian.")
    start = len(AR_MAGIC)
    while start + AR_HEADER <= len(data):
        header = data[start : start + AR_HEADER]
        size = int(header[48:58])
        start += AR_HEADER
        yield header[:16].decode().strip().rstrip("/"), data[start : start + size]
        start += size + size % 2


def _from_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Member:
    name = _merge(require_inside(member.name, path))
    if member.isdir():
        return Member(name, "folder")
    if member.issym():
        return Member(name, "link", target=member.linkname)
    file = archive.extractfile(member) if member.isreg() or member.islnk() else None
    if file is None:
        raise GraftError(f"{path}: {member.name} is neither file, folder nor link.")
    return Member(name, content=file.read(), is_executable=bool(member.mode & stat.S_IXUSR))


def _merge(name: str) -> str:
    """Return the path below ``usr`` of what Debian has in ``/bin`` and ``/lib``, which are links to there."""
    return f"usr/{name}" if name.split("/", maxsplit=1)[0] in MERGED else name


def read_wheel(path: Path) -> Iterator[Member]:
    """Read the files of a wheel as they are installed (PEP 427), without its programs and headers.

    Args:
        path: The ``.whl`` file.

    Raises:
        GraftError: It is none, or names a path outside the image.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for item in sorted(archive.infolist(), key=lambda item: item.filename):
                name = _installed_name(require_inside(item.filename, path))
                if name and not item.is_dir():
                    yield Member(f"{SITE}/{name}", content=archive.read(item))
    except zipfile.BadZipFile as error:
        raise GraftError(f"{path}: is no wheel ({error}).") from error


def _installed_name(name: str) -> str | None:
    """Return where a file of a wheel is installed; None if it is not."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    scheme, _, rest = rest.partition("/")
    return rest if scheme in {"purelib", "platlib"} else None


def read_files(folder: Path, paths: Iterable[Path], place: str) -> Iterator[Member]:
    """Read some of the files below a folder.

    Args:
        folder: The folder.
        paths: The files.
        place: The path in the image that the folder is copied to.
    """
    for path in paths:
        yield Member(f"{place}/{path.relative_to(folder).as_posix()}", content=path.read_bytes())


def require_inside(name: str, archive: Path) -> str:
    """Return a path of an archive from the image's root, or refuse one that leads elsewhere.

    Args:
        name: The path as the archive has it.
        archive: The archive, for the error.

    Raises:
        GraftError: The path is absolute or climbs.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise GraftError(f"{archive}: {name!r} leads out of the image, so nothing of it is used.")
    return path.as_posix()


def with_folders(entries: Iterable[Member]) -> list[Member]:
    """Return entries in order of their paths, each once, with the folders that they lie in.

    Of several with one path, the last one counts.
    """
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        for parent in list(PurePosixPath(path).parents)[:-1]:
            name = parent.as_posix()
            if found.get(name, Member(name, "folder")).kind == "file":
                raise GraftError(f"{name}: is a file and a folder.")
            found.setdefault(name, Member(name, "folder"))
    return [found[path] for path in sorted(found)]


def rewritten(entry: Member, content: bytes) -> Member:
    """Return a file with other content."""
    return replace(entry, content=content)
