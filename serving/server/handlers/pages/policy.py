"""The ``Content-Security-Policy`` of a page: its own inline script and style, by their hashes, alone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence


def make_policy(page: bytes, inline: Sequence[str], **directives: str) -> str:
    """Return the policy of a page.

    Args:
        page: UTF-8 HTML.
        inline: Names of the elements, ``script`` and ``style``, of which the page has one without attributes,
            which is allowed by its hash.
        directives: What else is allowed, such as ``connect_src="'self'"``.

    Raises:
        ValueError: The page has none or several of such an element.
    """
    hashes = {f"{element}-src": _hash_inline(page, element) for element in inline}
    named = {name.replace("_", "-"): value for name, value in directives.items()}
    closed = dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'")
    policy = {"default-src": "'none'"} | hashes | named | closed
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def make_headers(policy: str) -> dict[str, str]:
    """Return the headers that go with a page."""
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


def _hash_inline(page: bytes, element: str) -> str:
    """Return the source expression of an element.

    See https://www.w3.org/TR/CSP3/#match-element-to-source-list.
    """
    name = element.encode()
    parts = re.findall(rb"<%b>(.*?)</%b>" % (name, name), page, re.DOTALL)
    if len(parts) != 1:
        raise ValueError(f"The page must have one <{element}> without attributes, and has {len(parts)}.")
    return f"'sha256-{base64.b64encode(hashlib.sha256(parts[0]).digest()).decode()}'"
