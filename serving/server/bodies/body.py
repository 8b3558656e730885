"""What every kind of body has in common."""

from __future__ import annotations

from starlette.requests import Request

from serving.model.errors import InputRefusedError


def media_type(request: Request) -> str:
    """The declared type without its parameters, in lower case; empty when none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """The whole body; raises Starlette's ClientDisconnect when the client leaves before its end."""
    return await request.body()


def refuse_many(count: int, max_items: int) -> None:
    """Raise InputRefusedError for a batch past the limit."""
    if count > max_items:
        raise InputRefusedError("too_many_items", f"The request holds {count:,} items; at most {max_items} are accepted.", status=413)
