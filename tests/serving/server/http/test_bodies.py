"""Forms as they are read, and what the parser takes from Starlette that Starlette does not promise."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.kind import IMAGE
from serving.server.http import bodies
from serving.server.http.bodies import parse_json, read_many, read_one

NAMED, NAMELESS = b'form-data; name="images"; filename="x"', b'form-data; name="images"'
TYPE = "multipart/form-data; boundary=x"


async def never() -> AsyncGenerator[bytes]:
    yield b""


def make_form(*parts: tuple[bytes, bytes]) -> bytes:
    head = b"--x\r\ncontent-disposition: "
    return (
        b"".join(head + disposition + b"\r\n\r\n" + content + b"\r\n" for disposition, content in parts)
        + b"--x--\r\n"
    )


def make_request(body: bytes, media_type: str = TYPE, size: int = 1 << 20) -> Request:
    """A request whose body comes in pieces of this size."""
    pieces = iter([body[start : start + size] for start in range(0, len(body), size)])

    async def receive() -> dict[str, object]:
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Request({"type": "http", "headers": [(b"content-type", media_type.encode())]}, receive)


def read(*parts: tuple[bytes, bytes], size: int = 1 << 20) -> list[bytes]:
    return asyncio.run(read_many(make_request(make_form(*parts), size=size), IMAGE))


def refusal_of(*parts: tuple[bytes, bytes]) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as refused:
        read(*parts)
    return refused.value


def test_parser_has_the_names_of_starlette_that_are_used() -> None:
    tree = ast.parse(inspect.getsource(bodies))
    (own,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    used = {
        node.attr
        for node in ast.walk(own)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    parser = MultiPartParser(Headers(), never())
    assert used - {"files", "has_url", "_field", "_is_wanted", "_has_name", "_arriving"} == {"_current_part"}
    assert parser._current_part.field_name == ""
    assert parser._current_part.file is None
    for name in ("on_headers_finished", "on_part_data", "on_part_end"):
        assert inspect.signature(getattr(bodies._FormParser, name)) == inspect.signature(
            getattr(MultiPartParser, name)
        )


@given(
    st.lists(st.tuples(st.sampled_from([NAMED, NAMELESS]), st.binary(max_size=60)), min_size=1, max_size=6),
    st.integers(1, 50),
)
def test_form_gives_back_each_byte_whether_or_not_a_part_is_named(
    parts: list[tuple[bytes, bytes]], size: int
) -> None:
    sent = [(name, content) for name, content in parts if b"\r\n--x" not in b"\r\n" + content]
    if sent:
        assert read(*sent, size=size) == [content for _, content in sent]


@pytest.mark.parametrize("disposition", [NAMED, NAMELESS])
def test_form_holds_no_limit_of_its_own_on_a_file(disposition: bytes) -> None:
    content = bytes(range(256)) * 20_000
    assert read((disposition, content), size=60_000) == [content]


def test_form_leaves_other_fields_as_they_were() -> None:
    other = b'form-data; name="note"'
    assert read(
        (other, b"\xff"), (NAMELESS, b"a"), (b'form-data; name="file"; filename="x"', b"c"), (NAMED, b"b")
    ) == [b"a", b"b"]
    assert refusal_of((other, b"x" * 2_000_000), (NAMED, b"a")).code == "broken_form"
    assert refusal_of((other, b"x")).code == "missing_field"


@pytest.mark.parametrize("disposition", [NAMED, NAMELESS])
@pytest.mark.parametrize("count", [257, 1000, 1001])
def test_form_is_too_large_when_its_parts_are_too_many(disposition: bytes, count: int) -> None:
    refusal = refusal_of(*[(disposition, b"x")] * count)
    assert (refusal.status, refusal.code) == (413, "too_many_items")


@pytest.mark.parametrize("text", [b"http://a.b/c.png", b"HTTPS://a/\r\n", b"https://a/?b=%20"])
def test_url_is_refused_only_where_no_file_is_named(text: bytes) -> None:
    refusal = refusal_of((NAMED, b"a"), (NAMELESS, text))
    assert (refusal.status, refusal.code, refusal.message) == (
        400,
        "url_refused",
        "A URL came. Send the picture itself; no URL is fetched.",
    )
    assert read((NAMED, text)) == [text]


@pytest.mark.parametrize("text", [b"http://", b"http://a b", b"xhttp://a", b"http://a\r\n\r\n<svg/>"])
def test_what_only_begins_like_a_url_is_read_as_a_file(text: bytes) -> None:
    assert read((NAMELESS, text)) == [text]
    assert asyncio.run(read_one(make_request(text, "image/png"), IMAGE)) == text


@pytest.mark.parametrize("body", [b"http://a.b/c", b"image=http%3A%2F%2Fa.b%2Fc", b"image=https://a.b/c"])
def test_url_is_refused_when_it_is_the_whole_body(body: bytes) -> None:
    with pytest.raises(InputRefusedError) as refused:
        asyncio.run(read_one(make_request(body, "application/x-www-form-urlencoded"), IMAGE))
    assert refused.value.code == "url_refused"


def test_json_may_begin_with_a_byte_order_mark() -> None:
    assert parse_json('{"text": "\ufeffa"}'.encode("utf-8-sig")) == {"text": "\ufeffa"}
