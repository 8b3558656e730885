"""``python -m serving.server.process.health``: exit code 0 if the service of this container answers.

It is what a container's health check calls, since its image has no curl. ``/livez`` and not ``/readyz`` is
asked, because a container that waits for a bundle is healthy, and starting it anew would not bring one.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

DEFAULT_PORT = 3000
TIMEOUT_S = 4.0


def is_alive(port: int) -> bool:
    """Return whether the service on a port of this machine answers that it is alive, by HTTP or by HTTPS.

    Args:
        port: The port.
    """
    try:
        return _is_alive(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S))
    except (ConnectionResetError, http.client.HTTPException):  # RemoteDisconnected: that was no HTTP
        pass
    except OSError:
        return False
    # Whose certificate it is does not matter: this machine is asked, and nothing is told.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
        return _is_alive(connection)
    except (OSError, http.client.HTTPException):
        return False


def _is_alive(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(int(os.environ.get("PORT") or DEFAULT_PORT)) else 1)
