"""Self-contained pages of one look."""

from __future__ import annotations

import base64
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render_page(package: str, template: str, **context: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Render a package's template, which extends ``page.html.jinja``; ``png`` turns a plot's bytes into a data URI."""
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("pipeline.reporting", ".")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["png"] = lambda data: "data:image/png;base64," + base64.b64encode(data).decode()
    return environment.get_template(template).render(**context)
