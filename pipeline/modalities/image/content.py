"""The audit of pictures: which are usable, and which are the same."""

from __future__ import annotations

import hashlib

from serving.model.inputs.image.pixels import decode_image
from serving.model.inputs.image.spec import ImageInputSpec

# The audit decodes each file in full, as serving does; the size it is then resized to does not matter.
AUDIT_SPEC = ImageInputSpec(height=8, width=8, crop_mode="squash", interpolation="nearest")


def check(data: bytes) -> None:
    """Raise InputRefusedError for a file that serving would refuse."""
    decode_image(data, AUDIT_SPEC)


def identity(data: bytes) -> str:
    """Return the SHA-256 of a file, in hex: two pictures are the same when their files are."""
    return hashlib.sha256(data).hexdigest()
