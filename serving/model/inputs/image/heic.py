"""Opening of HEIC files, which iPhones write, by an optional package."""

from __future__ import annotations

import functools
import io
from typing import Any

from PIL import ImageFile

from serving.model.errors import InputRefusedError


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """Open a HEIC file, whose pixels are decoded when it is loaded: upright, and of 8 bits.

    Raises:
        InputRefusedError: ``not_an_image``: this service does not read such files.
        OSError: The file is damaged. Its reader raises further types.
    """
    pi_heif = _load_pi_heif()
    if pi_heif is None:
        text = (
            "This service does not read HEIC. Send a JPEG, or have the service's operator install what reads "
            "it: pip install 'graft-ml[heic]'"
        )
        raise InputRefusedError("not_an_image", text)
    opened: ImageFile.ImageFile = pi_heif.HeifImageFile(io.BytesIO(data), "")
    return opened


def is_read() -> bool:
    """Return whether HEIC files are read here."""
    return _load_pi_heif() is not None


@functools.cache
def _load_pi_heif() -> Any:  # noqa: ANN401 - it has no types
    try:
        import pi_heif
    except ImportError:
        return None
    return pi_heif
