"""``python -m serving.server.process.health``: exit code 0 if the service of this container answers.

It is what a container's health check calls, since its image has no curl. ``/livez`` and not ``/readyz`` is
asked, because a container that waits for a bundle is healthy, and starting it anew would not bring one.
"""

from __future__ import annotations

import http.client
import os
import sys

DEFAULT_PORT = 3000
TIMEOUT_S = 4.0


def is_alive(port: int) -> bool:
    """Return whether the service on a port of this machine answers that it is alive.

    Args:
        port: The port.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(int(os.environ.get("PORT") or DEFAULT_PORT)) else 1)
