"""The API description at ``/docs.json`` and, as a page without a script, at ``/docs``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.model.manifest import Manifest
from serving.server.handlers.pages.policy import make_policy

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from pydantic.json_schema import JsonSchemaValue

_TEMPLATE: Final = Path(__file__).with_name("reference.html.jinja").read_text("utf-8")
REFERENCE_POLICY: Final = make_policy(_TEMPLATE.encode(), ["style"])
LONGEST_EXAMPLE: Final = 2000


class Reference:
    """The API description of the model that answers, which is made once for each.

    Args:
        describe: Gives the OpenAPI document for a bundle.
    """

    def __init__(self, describe: Callable[[Manifest], JsonSchemaValue]) -> None:
        self._describe = describe
        self._last: tuple[Manifest, bytes, bytes] | None = None

    def of(self, manifest: Manifest) -> tuple[bytes, bytes]:
        """Return the OpenAPI document as JSON, and as a page. The first time it takes a tenth of a second."""
        if self._last is None or self._last[0] is not manifest:
            document = self._describe(manifest)
            as_json = json.dumps(document, ensure_ascii=False).encode()
            self._last = manifest, as_json, render_reference(document)
        return self._last[1:]


def render_reference(document: JsonSchemaValue) -> bytes:
    """Render an OpenAPI document as UTF-8 HTML."""

    def resolve(value: JsonSchemaValue) -> JsonSchemaValue:
        if "$ref" not in value:
            return value
        target = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return target

    def write(value: object) -> str:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}\n…"

    groups: dict[str, list[JsonSchemaValue]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            call = {"path": path, "method": method.upper(), **operation}
            groups.setdefault(operation["tags"][0], []).append(call)
    template = _load_template()
    return template.render(document=document, groups=groups, resolve=resolve, write=write).encode()


@functools.cache
def _load_template() -> Template:
    from jinja2 import Environment, StrictUndefined  # this page alone needs it

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = _mark_code
    return environment.from_string(_TEMPLATE)


def _mark_code(text: str) -> Markup:
    """Return a sentence with what stands in backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped
