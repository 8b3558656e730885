"""Pictures: a raw body, or the fields ``image`` and ``images`` of a multipart form."""

from __future__ import annotations

import re
import sys

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.model.errors import InputRefusedError
from serving.server.bodies.body import media_type, read_body, refuse_many

MULTIPART = "multipart/form-data"
MOST_FILES = 1000
# What no picture is sent as. Anything else may be one: `curl --data-binary` calls whatever it sends application/x-www-form-urlencoded.
OTHER_TYPES = ("application/json", "text/")


async def read_one(request: Request, field: str = "image") -> bytes:
    """The bytes of one picture: the raw body, or the one file of a multipart field.

    Raises:
        InputRefusedError: Another media type, a broken form, a form without the field, or several files in it.
    """
    declared = media_type(request)
    if declared.startswith(OTHER_TYPES):
        raise InputRefusedError("wrong_type", f"Send the picture itself, as image/png or the like, or {MULTIPART}.", status=415)
    if declared != MULTIPART:
        return await read_body(request)
    files = await _files(request, field)
    if len(files) > 1:
        raise InputRefusedError("several_images", f"`{field}` holds {len(files)} files. Send them to /predict_batch as `images`.")
    return files[0]


async def read_many(request: Request, max_items: int, field: str = "images") -> list[bytes]:
    """The bytes of every file in a repeated multipart field, in order.

    Raises:
        InputRefusedError: Not a multipart form, a broken one, one without the field, or more than ``max_items`` files.
    """
    if media_type(request) != MULTIPART:
        raise InputRefusedError("not_multipart", f"Send {MULTIPART} with the field `{field}` once a picture.", status=415)
    files = await _files(request, field)
    refuse_many(len(files), max_items)
    return files


class _InMemoryParser(MultiPartParser):
    """Starlette's, but no file goes to disk: what arrives is bounded already, and a full disk would be one more thing that can fail."""

    spool_max_size = sys.maxsize


async def _files(request: Request, field: str) -> list[bytes]:
    try:
        form = await _InMemoryParser(request.headers, request.stream(), max_files=MOST_FILES, max_fields=MOST_FILES).parse()
    except (MultiPartException, ValueError, KeyError) as error:
        # The parser's own words name its internals at times; the first sentence is what helps.
        reason = re.sub(r"\s+", " ", str(getattr(error, "message", error)))[:120].rstrip(".")
        if reason.startswith("Too many files"):
            raise InputRefusedError("too_many_items", f"The form holds more than {MOST_FILES:,} files.", status=413) from error
        raise InputRefusedError("broken_form", f"The multipart form cannot be read: {reason}.") from error
    files = [await value.read() for value in form.getlist(field) if isinstance(value, UploadFile)]
    if not files:
        raise InputRefusedError("missing_field", f"The form has no file in the field `{field}`. With curl: -F {field}=@picture.png")
    return files
