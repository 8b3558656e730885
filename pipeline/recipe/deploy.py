"""The section ``deploy`` of every recipe: how the service runs in a cluster."""

from __future__ import annotations

from pydantic import Field

from pipeline.recipe.data import Section


class Deploy(Section):
    """The service in a cluster.

    Attributes:
        image: Name of the image in a registry, such as ``registry.example.org/team/cells``, without a tag;
            ``null`` for the run's name.
        replicas: Number of copies that run.
    """

    image: str | None = None
    replicas: int = Field(default=2, ge=1, le=1000)
