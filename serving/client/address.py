"""Where requests go, and what their headers say: the service's address, the key and the request's id."""

from __future__ import annotations

import httpx


def check_address(url: str) -> httpx.URL:
    """The service's address, parsed; raises ValueError where it is none, or holds a password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}.") from error
    if parsed.userinfo:
        raise ValueError("The address holds a user's name or password, which would end up in messages. Give the service's key as api_key.")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{url!r} is not an address. Give one such as http://localhost:3000.")
    return parsed


def key_headers(api_key: str | None) -> dict[str, str]:
    """The header that carries a key, without the line end that keys from files have; raises ValueError, which never shows the key."""
    return {} if api_key is None else {"Authorization": f"Bearer {check_header('api_key', api_key.strip())}"}


def check_header(name: str, value: str) -> str:
    """The value of an argument, as it is; raises ValueError where no HTTP header can carry it."""
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} is empty or holds characters that no HTTP header can carry.")
    return value
