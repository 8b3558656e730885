"""Opening of HEIC files, which iPhones write, by an optional package."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from serving.model.errors import InputRefusedError

THREADS: Final = 1
"""Threads of one decoding: as many pictures are decoded at a time as there are CPUs."""


@dataclass(frozen=True)
class OpenedHeic:
    """The first picture of a HEIC file, of which no pixels are decoded yet.

    Attributes:
        handle: The library's handle of it.
    """

    handle: Any

    @property
    def size(self) -> tuple[int, int]:
        """Its (width, height) in pixels, as far as the file says; after decoding, as they are."""
        size: tuple[int, int] = self.handle.size_mode[0]
        return size

    def decode(self) -> Image.Image:
        """Decode it to 8 bits, turned and mirrored as the file says.

        Raises:
            OSError: It is damaged. The library raises further types.
        """
        data, (size, mode), stride = self.handle.data, self.handle.size_mode, self.handle.stride
        return Image.frombytes(mode, size, data, "raw", mode, stride)


def open_heic(data: bytes) -> OpenedHeic:
    """Open a HEIC file.

    The package's own classes read the file's metadata too, and some that are no text end the process
    (pi_heif 1.4.0); the module below them does not.

    Raises:
        InputRefusedError: ``not_an_image``: this service does not read such files.
        OSError: The file is damaged. The library raises further types.
    """
    library = _load_library()
    if library is None:
        text = (
            "This service does not read HEIC. Send a JPEG, or have the service's operator install what reads "
            "it: pip install 'graft-ml[heic]'"
        )
        raise InputRefusedError("not_an_image", text)
    opened = library.load_file(
        data,
        THREADS,
        True,  # noqa: FBT003 - it takes no names: convert more bits to 8
        False,  # noqa: FBT003 - red first
        True,  # noqa: FBT003 - no bytes between rows
        True,  # noqa: FBT003 - more bits as 16, which the first rules out
        "",  # any decoder
        False,  # noqa: FBT003 - keep the limits to sizes
    )
    handles = [handle for handle in opened if handle is not None]
    return OpenedHeic(next((handle for handle in handles if handle.primary), handles[0]))


def is_read() -> bool:
    """Return whether HEIC files are read here."""
    return _load_library() is not None


@functools.cache
def _load_library() -> Any:  # noqa: ANN401 - it has no types
    try:
        import _pi_heif
    except ImportError:
        return None
    return _pi_heif
