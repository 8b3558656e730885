"""One row of the service's table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.server.http.access import Access, AccessMiddleware, Guard


@dataclass(frozen=True)
class Endpoint:
    """A path and method, its handler, who may call, and what OpenAPI says that does not follow from the rest.

    Attributes:
        method: HTTP method; GET also answers HEAD.
        path: Path, with ``{name}`` for a part that varies.
        name: Name in metrics and logs, which several endpoints may share.
        handler: Answers.
        access: Who is answered.
        summary: One sentence; ``{noun}`` and ``{plural}`` stand for what the model's inputs are called.
        answer: Model of the JSON that it answers with, or the media type of anything else.
        body: What the request holds: one input, many, or a message of the Open Inference Protocol; None for
            no body.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    handler: Callable[[Request], Awaitable[Response]]
    access: Access
    summary: str
    answer: type[BaseModel] | str
    body: Literal["one", "many", "infer"] | None = None

    def to_route(self, guard: Guard) -> Route:
        """Return Starlette's route, which a request reaches past the guard."""
        middleware = [Middleware(AccessMiddleware, guard=guard, access=self.access)]
        route = Route(self.path, self.handler, methods=[self.method], name=self.name, middleware=middleware)
        # Starlette's `$` also matches before a newline at the end, so that `/livez%0A` would be a path. Many
        # clients and proxies write a slash at the end, and a redirect would lose the body of a POST.
        slash = "" if self.path == "/" else "/?"
        route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + slash + r"\Z")
        return route
