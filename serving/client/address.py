"""Checks of the service's address, and of the API key and request id that headers carry."""

from __future__ import annotations

import re

import httpx


def check_address(url: str) -> httpx.URL:
    """Parse the address of a service.

    Args:
        url: The address, such as ``http://localhost:3000``.

    Raises:
        ValueError: It is not an HTTP or HTTPS address with a host, or it holds a user name or password.
    """
    authority = re.split("[/?#]", url.partition("//")[2], maxsplit=1)[0]
    if "@" in authority:  # looked at before the address is parsed, because the parser's messages show it
        text = "The address holds a user name or password, which would end up in messages."
        raise ValueError(f"{text} Give the service's key as api_key.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{url!r} is not an address. Give one such as http://localhost:3000.")
    return parsed


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the header that carries an API key.

    Args:
        api_key: The key, or None for no header. White space around it is removed, since keys that are read
            from files end with a line break.

    Raises:
        ValueError: The key is empty or holds characters that no header can carry. The message never shows it.
    """
    return {} if api_key is None else {"Authorization": f"Bearer {check_header('api_key', api_key.strip())}"}


def check_header(name: str, value: str) -> str:
    """Return the value of an argument if an HTTP header can carry it.

    Args:
        name: Name of the argument, for the message.
        value: Value of the argument: one or more printable ASCII characters.

    Raises:
        ValueError: No header can carry the value. The message never shows it.
    """
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} is empty or holds characters that no HTTP header can carry.")
    return value
