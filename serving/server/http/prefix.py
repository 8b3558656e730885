"""The path below which a proxy offers the service."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def find_route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix below which the application is offered or mounted."""
    path, prefix = scope["path"], scope.get("root_path", "")
    return str(path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path)


class PrefixMiddleware:
    """Takes a path with the prefix and one from which the proxy has removed it for the same.

    Args:
        app: The application inside.
        prefix: The prefix, such as ``/models/cells``.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            path, mount = scope["path"], scope.get("root_path", "")
            if path == f"{mount}{self._prefix}":  # the page's links are relative
                await RedirectResponse(f"{path}/")(scope, receive, send)
                return
            if path.startswith(f"{mount}{self._prefix}/"):
                scope = {**scope, "root_path": f"{mount}{self._prefix}"}
        await self._app(scope, receive, send)
