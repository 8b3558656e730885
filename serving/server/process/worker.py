"""What a worker process runs. It loads the model while it imports the rest of the service."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from serving.server.grpc.address import GrpcAddress
from serving.server.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

PR_SET_PDEATHSIG = 1  # prctl(2)


def make_worker_app(settings: Settings, gate: Connection, grpc: GrpcAddress | None) -> Starlette:
    """Build what a worker process runs.

    The process that holds the port starts workers before it has checked what they shall serve, so that both
    import at the same time. Nothing is loaded, logged or answered before it opens the gate.

    Args:
        settings: Settings of the service.
        gate: A connection from which something can be read once the gate is open. All workers wait at the
            same one, also those that replace others, so that nothing is ever taken from it.
        grpc: Where gRPC is answered, or None where it is not.
    """
    _end_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the process that holds the port says when to end
    from serving.server.app.ahead import load_ahead
    from serving.server.observing.logs import configure_logging

    gate.poll(None)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # the connection has ended, which can be read too
        sys.exit(1)
    configure_logging(settings.log_level)
    live = load_ahead(settings)
    from serving.server.app.build import build_app

    return build_app(settings, live=live, grpc=grpc)


def _end_with_parent() -> None:
    """Drain and end when the process that holds the port is killed.

    Nobody could replace this worker then, and the port would stay taken.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
