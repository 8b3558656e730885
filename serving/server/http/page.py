"""The page that people see at ``/``: give it one input, and it shows the model's answer.

``page.html`` is one file without anything from elsewhere. Its script and its style never change with the model: what is different from
one model to another stands in one JSON element, which the script reads. The policy can thus name both by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.model.schemas import ModelInfo

MODALITIES: Final = ("image", "text")
SHOWN_LABELS: Final = 20  # the script shows as many of an answer

_PAGE: Final = Path(__file__).with_name("page.html").read_bytes()
_FACTS: Final = b"@FACTS@"


def render_page(model: ModelInfo, modality: str, labels: Sequence[str]) -> bytes:
    """The page of one model, as UTF-8 HTML.

    Args:
        model: Named in the heading and in the footer.
        modality: ``"image"`` or ``"text"``.
        labels: All that the model knows, in the order in which people should read them.

    Raises:
        ValueError: Another modality.
    """
    if modality not in MODALITIES:
        raise ValueError(f"There is no page for inputs of the kind {modality!r}, only for {' and '.join(MODALITIES)}.")
    facts = {"model": model.to_json(), "modality": modality, "labels": list(labels[:SHOWN_LABELS]), "label_count": len(labels)}
    return _PAGE.replace(_FACTS, _to_inline_json(facts), 1)


def _to_inline_json(value: object) -> bytes:
    """As JSON of ASCII characters that neither ends a script element nor opens a comment in it."""
    return json.dumps(value).replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026").encode("ascii")


def _hash_inline(element: str) -> str:
    """The source expression that allows the page's one inline element of that name (https://www.w3.org/TR/CSP3/#match-element-to-source-list)."""
    found = re.findall(rb"<%b>(.*?)</%b>" % (element.encode(), element.encode()), _PAGE, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"page.html must have one <{element}> without attributes, and has {len(found)}.")
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[0]).digest()).decode()}'"


CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash_inline('script')}",
        f"style-src {_hash_inline('style')}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The ``Content-Security-Policy`` that goes with the page."""
