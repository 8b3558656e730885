"""The optional packages of gRPC, which are imported only where it is on."""

from __future__ import annotations

import os
from typing import Final

from serving.model.errors import SettingsError

REMEDY: Final = "pip install 'graft-ml[grpc]'"
VERBOSITY: Final = "GRPC_VERBOSITY"


def require_grpc() -> None:
    """Import what gRPC needs.

    Raises:
        SettingsError: ``grpc_missing``: a package is not installed, or is too old.
    """
    # gRPC's core would write a line of its own between those of the log for every client that errs.
    os.environ.setdefault(VERBOSITY, "NONE")
    try:
        import grpc.aio  # noqa: F401
        import grpc_health.v1.health_pb2  # noqa: F401

        import serving.server.grpc.generated.open_inference_grpc_pb2  # noqa: F401
    except Exception as error:  # protobuf refuses a version that does not fit by errors of its own
        text = (
            f"gRPC needs packages that cannot be imported ({error}). Install them: {REMEDY}. An image of "
            "`graft package --image` brings them where the recipe sets `deploy.grpc_port`: write it again."
        )
        raise SettingsError("grpc_missing", text) from error
