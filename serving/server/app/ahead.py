"""A model that is loaded while the rest of the service is still imported, so this imports none of it."""

from __future__ import annotations

from serving.server.engine.live import LiveModel
from serving.server.settings import Settings


def load_ahead(settings: Settings) -> LiveModel:
    """Begin to load what a service shall serve, and return at once; its application takes it over.

    Args:
        settings: Settings of the service.
    """
    live = LiveModel(
        settings.bundle,
        artifact=settings.artifact,
        fallback=settings.fallback,
        trusted_keys=settings.trusted_keys,
    )
    live.begin()
    return live
