"""The page at ``/``, where people try the model: give it one input, and it shows the model's answer.

``page.html`` is one file without anything from elsewhere. Its script and its style never change with the
model: what differs from one model to another stands in one JSON element, which the script reads. The policy
can thus name both by their hashes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.model.inputs.kind import InputKind, JsonBody
from serving.model.schemas import ModelInfo
from serving.server.handlers.pages.policy import make_policy

SHOWN_LABELS: Final = 20  # the script shows as many of an answer
_PAGE: Final = Path(__file__).with_name("page.html").read_bytes()
_FACTS: Final = b"@FACTS@"
PAGE_POLICY: Final = make_policy(_PAGE, ["script", "style"], img_src="blob: data:", connect_src="'self'")


def render_page(model: ModelInfo, kind: InputKind, labels: Sequence[str]) -> bytes:
    """Render the page of one model, as UTF-8 HTML.

    Args:
        model: Model to name in the heading and in the footer.
        kind: Kind of input that it takes, which brings the page's control.
        labels: All that the model knows, in the order in which people should read them.
    """
    facts = {
        "model": model.to_json(),
        "kind": {
            "noun": kind.noun,
            "plural": kind.plural,
            "invitation": kind.invitation,
            "max_bytes": kind.max_body_bytes,
            "json_key": kind.body.field if isinstance(kind.body, JsonBody) else None,
        },
        "control": {"type": kind.control.control, **dataclasses.asdict(kind.control)},
        "labels": list(labels[:SHOWN_LABELS]),
        "label_count": len(labels),
    }
    return _PAGE.replace(_FACTS, _to_inline_json(facts), 1)


def _to_inline_json(value: object) -> bytes:
    """Return JSON of ASCII characters that neither ends a script element nor opens a comment in it."""
    text = json.dumps(value)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026").encode("ascii")
