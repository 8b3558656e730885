"""Self-contained HTML pages, all in the same style."""

from __future__ import annotations

import base64
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render_page(package: str, template: str, **context: Any) -> str:  # noqa: ANN401 - any value can be shown
    """Render a template, which extends ``page.html.jinja``.

    Its filter ``png`` turns the bytes of a plot into a data URI.

    Args:
        package: Dotted name of the package that the template lies in.
        template: File name of the template.
        context: The values that the template shows.

    Returns:
        A self-contained HTML document.
    """
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("pipeline.reporting", ".")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["png"] = lambda data: "data:image/png;base64," + base64.b64encode(data).decode()
    return environment.get_template(template).render(**context)
