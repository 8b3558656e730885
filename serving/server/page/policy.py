"""The ``Content-Security-Policy`` of a page: its own inline script and style, by their hashes, alone."""

from __future__ import annotations

import base64
import hashlib
import re


def make_policy(page: bytes, **directives: str) -> str:
    """Return the policy of a page.

    Args:
        page: UTF-8 HTML. Its ``<script>`` and ``<style>`` without attributes are allowed by their hashes.
        directives: What else is allowed, such as ``connect_src="'self'"``.
    """
    inline = {f"{element}-src": _hash_inline(page, element) for element in ("script", "style")}
    named = {name.replace("_", "-"): value for name, value in directives.items()}
    closed = dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'")
    policy = {"default-src": "'none'"} | inline | named | closed
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def make_headers(policy: str) -> dict[str, str]:
    """Return the headers that go with a page."""
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


def _hash_inline(page: bytes, element: str) -> str:
    """Return the source expression of inline elements (https://www.w3.org/TR/CSP3/#match-element-to-source-list)."""
    name = element.encode()
    parts = re.findall(rb"<%b>(.*?)</%b>" % (name, name), page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(part).digest()).decode() for part in parts]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
