"""The Hugging Face hub where it cannot be reached: what is in its cache is used at once, without retries."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

log = logging.getLogger("graft")
TIMEOUT_S = 3.0
PORTS = {"http": 80, "https": 443}


@contextmanager
def cache_where_unreachable() -> Iterator[None]:
    """Keep the hub's client off the network within the block if the hub cannot be reached.

    The client itself would retry for a minute before it says so. Behind a proxy nothing is looked at.
    """
    from huggingface_hub import constants

    reason = None if constants.HF_HUB_OFFLINE or getproxies() else _why_unreachable(constants.ENDPOINT)
    if reason is None:
        yield
        return
    log.warning(
        "%s cannot be reached (%s): only what is in its cache can be used", constants.ENDPOINT, reason
    )
    # The client and transformers read this switch each time; its variable only once, when they are imported.
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _why_unreachable(address: str) -> str | None:
    """Return why no connection to an address can be made within three seconds; None where one can."""
    parts = urlsplit(address)
    try:
        port = parts.port or PORTS.get(parts.scheme, PORTS["https"])
        socket.create_connection((parts.hostname or "", port), timeout=TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None
