"""The section ``tracking`` of every recipe: where the figures of a run are sent beside its own folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pydantic import Field, model_validator

from pipeline.recipe.addresses import SQLITE, has_credentials, kind_of
from pipeline.recipe.data import Section

SERVERS = ("http", "https")
MLFLOW_DATABASES = ("postgresql", "mysql", "mssql", "sqlite")


class Mlflow(Section):
    """The MLflow that a run is logged to.

    Attributes:
        uri: Address of a server (``http://HOST:5000``) or of a database (``sqlite:///mlflow.db``, which
            counts from the recipe's folder); ``environment`` for what the variable ``MLFLOW_TRACKING_URI``
            says; ``null`` for no MLflow. It holds no password and no token: a server's is taken from
            ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, a database's from the address in
            ``MLFLOW_TRACKING_URI``.
        experiment: Name of the experiment, which is made if there is none.
    """

    uri: str | None = None
    experiment: str = Field(default="graft", min_length=1, max_length=200)

    @model_validator(mode="after")
    def _be_an_address(self) -> Mlflow:
        """Refuse what is no address of MLflow, and passwords, which would be copied into the run."""
        if self.uri is None or self.uri == "environment":
            return self
        check_address(self.uri)
        if has_credentials(self.uri):
            raise ValueError(
                "uri: holds a user, a password or a token, which would be copied into the run's folder; set"
                " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, or write"
                " uri: environment and set MLFLOW_TRACKING_URI"
            )
        return self


def check_address(uri: str) -> None:
    """Refuse what is no address of MLflow, without repeating it.

    Raises:
        ValueError: The reason, and the remedy.
    """
    kind = kind_of(uri)
    if kind not in (*MLFLOW_DATABASES, *SERVERS):
        raise ValueError(
            "uri: is no address of a server or a database, such as http://HOST:5000 or sqlite:///mlflow.db;"
            " folders of files such as ./mlruns are no longer taken by MLflow itself"
        )
    if kind == "sqlite" and not uri.removeprefix(SQLITE).strip("/"):
        raise ValueError("uri: names no file; write sqlite:///mlflow.db")


class Tracking(Section):
    """Where a run is told beside ``history.jsonl`` in its folder; nothing of the result depends on it.

    Attributes:
        tensorboard: Whether the figures are written for TensorBoard, ``true`` for the folder ``tensorboard``
            in the run's, or another folder, which several runs may share.
        mlflow: The MLflow that the run is logged to.
    """

    tensorboard: bool | str = False
    mlflow: Mlflow = Mlflow()

    def with_places(self, change: Callable[[str], str]) -> Self:
        """Return the section with the places of its files changed.

        Args:
            change: From the place in the section to the one that takes its place.
        """
        folder, uri = self.tensorboard, self.mlflow.uri
        if isinstance(folder, str):
            folder = change(folder)
        if uri is not None and uri.startswith(SQLITE):
            uri = SQLITE + change(uri.removeprefix(SQLITE))
        return self.model_copy(
            update={"tensorboard": folder, "mlflow": self.mlflow.model_copy(update={"uri": uri})}
        )
