"""The files of an image as its layers give them together, each on top of those below it."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from pipeline.errors import GraftError
from pipeline.signing.image import CONVERT

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
MOST_LINKS = 40  # that one path leads over, as in Linux


@dataclass(frozen=True)
class LayerEntry:
    """What is at a path.

    Attributes:
        layer: The layer that it is of.
        member: What the layer's archive says of it.
    """

    layer: Path
    member: tarfile.TarInfo

    @property
    def is_plain(self) -> bool:
        """Whether it is a file or a folder, and no link or device."""
        return self.member.isfile() or self.member.isdir()


class FileTree:
    """The files of layers on top of each other, as programs that run containers see them.

    Programs differ in what becomes of a file whose path leads over a link of a layer below. Such paths are
    followed, and remembered, so that nothing is said of a folder that they may have changed.
    """

    def __init__(self, layers: Iterable[Path]) -> None:
        self._entries: dict[str, LayerEntry] = {}
        self._parents: set[str] = set()  # every path that something is or was below
        self._doubtful: set[str] = set()  # the paths of links, and those that were reached over links
        for layer in layers:
            self._add(layer)

    def named(self, name: str) -> list[str]:
        """Return the paths of all plain files of a name, from the root, without a slash at the start."""
        found = (path for path in self._entries if path.rpartition("/")[2] == name)
        return sorted(path for path in found if self._entries[path].member.isfile())

    def has_other(self, path: str) -> bool:
        """Return whether something is at a path that is neither a file nor a folder, such as a link."""
        return path in self._entries and not self._entries[path].is_plain

    def files_below(self, folder: str) -> dict[str, LayerEntry]:
        """Return the files below a folder by their paths in it.

        Args:
            folder: Its path from the root, without a slash at the start.

        Raises:
            GraftError: It holds something else than files and folders, or links lead to or into it.
        """
        odd = {path for path in self._doubtful if _is_below(path, folder) or _is_below(folder, path)}
        within = {path: entry for path, entry in self._entries.items() if _is_below(path, folder)}
        folders = {parent.as_posix() for path in within for parent in PurePosixPath(path).parents} | {folder}
        odd.update(path for path, entry in within.items() if not entry.is_plain)
        odd.update(path for path in folders & within.keys() if not within[path].member.isdir())
        if odd:
            raise GraftError(
                f"the image's /{min(odd)} is or was reached over a link, or is no plain file, so that not "
                f"every program finds the same files in /{folder}. Make it again, without links there."
            )
        return {
            path.removeprefix(f"{folder}/"): entry for path, entry in within.items() if entry.member.isfile()
        }

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the content of each of some files."""
        for path, content in _contents({path: self._entries[path] for path in paths}):
            yield path, content.read()

    def _add(self, layer: Path) -> None:
        with _opened(layer) as archive:
            members = [(_parts(member.name, layer), member) for member in archive.getmembers()]
            _require_end(archive)
        hidden = [parts for parts, _ in members if parts and parts[-1].startswith(WHITEOUT)]
        for parts in hidden:
            self._hide(parts)
        for parts, member in members:
            if parts and not parts[-1].startswith(WHITEOUT):
                self._put(parts, LayerEntry(layer, member))
        for parts in hidden:  # some programs go in the archive's order, over links of this very layer
            self._place(parts)

    def _hide(self, parts: tuple[str, ...]) -> None:
        """Remove what a layer says is no longer there of the layers below it."""
        if parts[-1] == OPAQUE:
            self._remove_below(self._place(parts[:-1]) if parts[:-1] else "")
            return
        path = self._place((*parts[:-1], parts[-1].removeprefix(WHITEOUT)))
        self._entries.pop(path, None)
        self._remove_below(path)

    def _put(self, parts: tuple[str, ...], entry: LayerEntry) -> None:
        path, member = self._place(parts), entry.member
        if member.islnk():
            target = self._entries.get(self._place(_parts(member.linkname, entry.layer)))
            entry = target if target is not None and target.member.isfile() else entry
        elif member.issym():
            self._doubtful.add(path)
        if not member.isdir():
            self._remove_below(path)
        self._entries[path] = entry
        self._parents.update(parent.as_posix() for parent in PurePosixPath(path).parents)

    def _remove_below(self, folder: str) -> None:
        if not folder or folder in self._parents:
            for path in [path for path in self._entries if path != folder and _is_below(path, folder)]:
                del self._entries[path]

    def _place(self, parts: tuple[str, ...]) -> str:
        """Return the path to which a program that follows links writes something."""
        folder = self._resolve(parts[:-1])
        path, literal = f"{folder}/{parts[-1]}".lstrip("/"), "/".join(parts)
        if path != literal:
            self._doubtful.update((path, literal))
        return path

    def _resolve(self, parts: tuple[str, ...]) -> str:
        """Return the path of a folder, links on the way followed, none of which leaves the image."""
        waiting, done, hops = list(reversed(parts)), list[str](), 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            entry = self._entries.get("/".join((*done, part)))
            if entry is None or not entry.member.issym():
                done.append(part)
                continue
            hops += 1
            if hops > MOST_LINKS:
                raise GraftError(f"{entry.layer}: its link {entry.member.name} leads in a circle.")
            target = PurePosixPath(entry.member.linkname)
            done = [] if target.is_absolute() else done
            waiting += reversed([part for part in target.parts if part != "/"])
        return "/".join(done)


def write_files(files: Mapping[str, LayerEntry], folder: Path) -> None:
    """Write files of an image into a folder.

    Args:
        files: What to write, by its path in the folder.
        folder: The folder.
    """
    for name, content in _contents(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)


def _contents(files: Mapping[str, LayerEntry]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield each file, opened, layer by layer in the order of their archives."""
    by_layer = defaultdict[Path, list[tuple[int, str]]](list)
    for name, entry in files.items():
        by_layer[entry.layer].append((entry.member.offset, name))
    for layer, names in by_layer.items():
        with _opened(layer) as archive:
            for _, name in sorted(names):
                content = archive.extractfile(files[name].member)
                assert content is not None, "it is a file"
                with content:
                    yield name, content


@contextmanager
def _opened(layer: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(layer, "r:*") as archive:
            yield archive
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = "no such archive" if "\n" in str(error) else error
        raise GraftError(
            f"{layer}: cannot be read as a layer ({reason}), so nobody knows what it holds. Layers are "
            f"tar archives, plain or compressed by gzip, bzip2 or xz. {CONVERT}"
        ) from error


def _require_end(archive: tarfile.TarFile) -> None:
    """Require an archive to have been read up to its end, and not only up to a damaged part."""
    assert archive.fileobj is not None, "it is open"
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(2 * tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("a part of it is damaged")


def _parts(name: str, layer: Path) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise GraftError(f"{layer}: its {name!r} leads out of the image. Make the image again.")
    return parts


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")
