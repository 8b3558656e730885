"""Pictures as BentoML's users give them: bytes, paths, open files and PIL pictures."""

from __future__ import annotations

import io
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

from serving.model.errors import InputRefusedError

URLS: Final = ("http://", "https://", "ftp://", "data:")
# PNG has no other modes. What a picture has more than these is colour that the model does not see.
PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class Upload(io.BytesIO, BinaryIO):
    """The bytes of a picture as an open file, such as BentoML's client sends: it asks for a ``BinaryIO``."""

    name = "picture"  # where typing.IO has a property that returns None

    @classmethod
    def of(cls, value: object) -> Upload:
        """Return the upload of whatever :func:`read_picture` reads."""
        return cls(read_picture(value))


def read_picture(value: Any) -> bytes:  # noqa: ANN401 - whatever a caller has
    """Return the bytes of a picture.

    Args:
        value: Bytes, the path of a file, an open binary file, which is read from its start, or a PIL picture.

    Raises:
        InputRefusedError: It is none of these, such as a URL, which is never fetched, or cannot be read.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str) and value.lower().startswith(URLS):
        raise InputRefusedError("url_refused", "Send the picture itself; no URL is fetched.")
    if isinstance(value, (str, PurePath)):
        return _read_path(Path(value))
    if hasattr(value, "getexif"):
        return _encode(value)
    content = _read_file(value) if hasattr(value, "read") else None
    if isinstance(content, bytes):
        return content
    text = f"A {type(value).__name__} is no picture. Give its bytes, path, open binary file or PIL picture."
    raise InputRefusedError("not_an_image", text)


def _read_file(file: Any) -> object:  # noqa: ANN401 - whatever has a method `read`
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        return file.read()
    except (OSError, ValueError) as error:  # such as a file that was closed
        raise InputRefusedError("not_an_image", f"The file cannot be read ({error}).") from error


def _read_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputRefusedError("not_an_image", f"{path}: cannot be read ({error.strerror}).") from error


def _encode(picture: Any) -> bytes:  # noqa: ANN401 - PIL is not imported for a type
    """Return the file that a PIL picture was opened from, or else the picture as PNG."""
    file = getattr(picture, "fp", None)
    if file is not None and file.seekable():
        file.seek(0)
        return bytes(file.read())
    encoded = io.BytesIO()
    whole = picture if picture.mode in PNG_MODES else picture.convert("RGB")
    whole.save(encoded, "PNG", exif=picture.getexif())
    return encoded.getvalue()
