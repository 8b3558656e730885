"""The page at ``/docs``, where people read the API description: rendered here, without a script."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from serving.server.page.policy import make_policy

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE: Final = Path(__file__).with_name("reference.html.jinja").read_text("utf-8")
REFERENCE_POLICY: Final = make_policy(_TEMPLATE.encode())
LONGEST_EXAMPLE: Final = 2000


def render_reference(document: dict[str, Any]) -> bytes:
    """Render an OpenAPI document as UTF-8 HTML."""

    def resolve(value: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in value:
            return value
        target = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return target

    def write(value: object) -> str:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}\n…"

    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            call = {"path": path, "method": method.upper(), **operation}
            groups.setdefault(operation["tags"][0], []).append(call)
    return _template().render(document=document, groups=groups, resolve=resolve, write=write).encode()


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # only this page needs it

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE)
