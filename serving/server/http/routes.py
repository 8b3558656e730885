"""Which path is answered by what."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from serving.model.errors import InputRefusedError
from serving.server.http.exchange import Exchange
from serving.server.http.replies import Reply

Handler = Callable[[Exchange], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """One path and method.

    Attributes:
        name: In metrics and logs.
        method: GET also answers HEAD.
        path: With ``{name}`` for a part that varies.
        answer: What answers.
        kind: A ``probe`` is answered to anybody and always, a ``page`` has no secret in it, ``about`` tells of the service, ``model``
            needs a model that is ready.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    answer: Handler
    kind: Literal["probe", "page", "about", "model"] = "model"

    @property
    def methods(self) -> tuple[str, ...]:
        """What it takes."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


class Routes:
    """A table of routes.

    Args:
        routes: All of them.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fixed: dict[str, list[Route]] = {}
        self._varying: list[tuple[re.Pattern[str], Route]] = []
        for route in routes:
            if "{" in route.path:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
                self._varying.append((re.compile(pattern), route))
            else:
                self._fixed.setdefault(route.path, []).append(route)
        self._known = ", ".join(dict.fromkeys(route.path for route in routes))

    def find(self, exchange: Exchange) -> Route:
        """The route of a request, whose name and parameters are noted in it; raises InputRefusedError."""
        path, method = exchange.scope["path"], exchange.scope["method"]
        found = self._fixed.get(path) or self._vary(path, exchange)
        if not found:
            raise InputRefusedError("unknown_path", f"There is nothing at this path. Known: {self._known}.", status=404)
        exchange.route, exchange.template = found[0].name, found[0].path
        for route in found:
            if method in route.methods:
                exchange.route, exchange.template = route.name, route.path
                return route
        allow = tuple(method for route in found for method in route.methods)
        raise InputRefusedError("wrong_method", f"This path takes {' or '.join(allow)}.", status=405, allow=allow)

    def _vary(self, path: str, exchange: Exchange) -> list[Route]:
        matches = [(pattern.fullmatch(path), route) for pattern, route in self._varying]
        for match, _ in matches:
            if match:
                exchange.parameters = match.groupdict()
        return [route for match, route in matches if match]
