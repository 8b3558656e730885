"""One path and method, and what can be said of it in OpenAPI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from serving.server.http.docs.refusals import refusal_name

# What any request can be refused for, whatever it is for.
ALWAYS: Final = frozenset({400, 405, 408, 413, 431})
BINARY: Final = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
REQUEST_ID_PARAMETER: Final = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Comes back with the answer, and stands in the log; of up to 128 letters, digits and `._:/+=-`, others are replaced.",
    "schema": {"type": "string"},
}
ANYBODY_OR_KEY: Final[list[dict[str, list[str]]]] = [{}, {"bearer": []}, {"apiKey": []}]


@dataclass(frozen=True)
class Operation:
    """One path and method.

    Attributes:
        method: GET or POST.
        path: As in the table of routes.
        summary: What it does.
        content: Of the answer, by media type.
        refusals: The status codes of its refusals, besides :data:`ALWAYS`.
        tag: Where it belongs.
        needs_key: Whether it can be protected.
        parameters: Of its path, query and headers.
        body: Of the request, by media type; None for no body.
        headers: Of the answer, besides the request's id.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    content: dict[str, Any]
    refusals: frozenset[int] = frozenset()
    tag: str = "service"
    needs_key: bool = False
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None
    headers: tuple[str, ...] = ()

    def to_openapi(self) -> dict[str, Any]:
        """OpenAPI's operation object."""
        described: dict[str, Any] = {
            "operationId": re.sub(r"\W+", "_", f"{self.method.lower()} {self.path}").strip("_"),
            "summary": self.summary,
            "tags": [self.tag],
            "security": ANYBODY_OR_KEY if self.needs_key else [],
            "parameters": [{"$ref": "#/components/parameters/RequestId"}, *self.parameters],
            "responses": self._responses(),
        }
        if self.body:
            described["requestBody"] = {"required": True, "content": self.body}
        return described

    def _responses(self) -> dict[str, Any]:
        names = ("X-Request-ID", *self.headers)
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        refused = sorted(ALWAYS | self.refusals | ({401} if self.needs_key else frozenset()))
        responses: dict[str, Any] = {"200": {"description": "Answered.", "headers": headers, "content": self.content}}
        return responses | {str(status): {"$ref": f"#/components/responses/{refusal_name(status, self.path)}"} for status in refused}


def ref(name: str) -> dict[str, str]:
    """A reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(schema: dict[str, Any], example: object) -> dict[str, Any]:
    """JSON of a schema."""
    return {"application/json": {"schema": schema, "example": example}}
