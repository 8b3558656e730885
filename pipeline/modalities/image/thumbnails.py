"""Small pictures for the report."""

from __future__ import annotations

import base64
import io

from PIL import Image


def encode_thumbnail(picture: Image.Image, side: int) -> str:
    """Return a picture as a JPEG in a data URI.

    Args:
        picture: The picture, ``RGB``.
        side: Largest side of the result, in pixels; smaller pictures stay as they are.
    """
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
