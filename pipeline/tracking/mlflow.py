"""The tracker that logs to MLflow, by its own client.

A training is one run of MLflow, which bears a tag with its key. A command that is repeated, or goes on with a
training, finds that run again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.errors import GraftError
from pipeline.machine.extras import remedy_for, require
from pipeline.recipe.addresses import SQLITE, bare_address
from pipeline.recipe.tracking import SERVERS, Mlflow, check_address
from pipeline.tracking.described import Described
from pipeline.tracking.events import Evaluated, Moment, Packaged, RunEnded, Trained
from pipeline.tracking.results import files_of
from pipeline.tracking.scalars import Scalar, scalars_of
from pipeline.tracking.tracker import first_line
from pipeline.tracking.trainings import names_training

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

AnyValue = TypeVar("AnyValue")
VARIABLE = "MLFLOW_TRACKING_URI"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What keeps MLflow from reporting to its makers, from the log, and from looking for Git."""
BRIEF = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""How long it waits for a server, unless the user says otherwise; by default it is for many minutes."""
KEY, MOST_AT_ONCE, LONGEST = "graft.key", 100, 5000
STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


def open_mlflow(section: Mlflow, described: Described) -> MlflowTracker:
    """Return the tracker that logs to MLflow, once its server or database has answered.

    Args:
        section: The recipe's section ``tracking.mlflow``, with an address.
        described: The run.

    Raises:
        GraftError: The package is missing; or there is nothing at the address, or it refuses us. The message
            holds no password.
    """
    require("mlflow")
    client, shown = _connect(section)
    try:
        experiment = _find_experiment(client, section.experiment)
    except GraftError:
        raise
    except Exception as error:
        # The cause is left out: its text may hold a password.
        raise GraftError(_refusal(shown, error)) from None
    return MlflowTracker(client, experiment, described)


def _connect(section: Mlflow) -> tuple[MlflowClient, str]:
    """Return a client, and the address as people may see it."""
    uri = _address(section)
    shown = bare_address(uri)
    try:
        _check_database(uri)
        _import_quietly()
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=_without_user(uri)), shown
    except GraftError:
        raise
    except Exception as error:
        raise GraftError(_refusal(shown, error)) from None


def _check_database(uri: str) -> None:
    """Connect to a database once, since MLflow tries for minutes to connect to one that is not there."""
    if urlsplit(uri).scheme in SERVERS:
        return
    for module in ("sqlalchemy", "alembic"):  # which mlflow-skinny does without where there is a server
        require(module)
    from sqlalchemy import create_engine

    if not uri.startswith(SQLITE):
        create_engine(uri).connect().close()


def _refusal(shown: str, error: Exception) -> str:
    """Return what is wrong, and the remedy.

    Args:
        shown: The address for people.
        error: What went wrong.
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        return (
            f"tracking.mlflow.uri: {shown} needs the package `{module}`, which is not installed."
            f" Try: {remedy_for(module)}"
        )
    return (
        f"tracking.mlflow.uri: {shown} cannot be used ({first_line(error)}). Start the server,"
        " correct the address, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD if it asks"
        " for them, or leave the key out"
    )


def _address(section: Mlflow) -> str:
    """Return the address, which may hold a password where the environment says it."""
    if section.uri != "environment":
        return section.uri or ""
    uri = os.environ.get(VARIABLE, "")
    try:
        check_address(uri)
    except ValueError as error:
        raise GraftError(
            f"tracking.mlflow.uri: is `environment`, and {VARIABLE} {'is not set' if not uri else 'is wrong'}"
            f" ({str(error).removeprefix('uri: ')})"
        ) from None
    return uri


def _without_user(uri: str) -> str:
    """Return a server's address without user and password, which MLflow gets by its variables instead."""
    parts = urlsplit(uri)
    if parts.scheme not in SERVERS or "@" not in parts.netloc:
        return uri
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(parts.username or ""))
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(parts.password or ""))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _import_quietly() -> None:
    """Import MLflow so that it tells nobody, and says nothing itself: its errors come to us."""
    os.environ.update(QUIET)
    for name, value in BRIEF.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _find_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment of that name, which is made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=_artifacts_of(client.tracking_uri)))
    if found.lifecycle_stage != "active":
        raise GraftError(
            f"tracking.mlflow.experiment: {name} was deleted. Restore it (mlflow experiments restore"
            f" --experiment-id {found.experiment_id}), or name another one"
        )
    return str(found.experiment_id)


def _artifacts_of(uri: str) -> str | None:
    """Return the folder of a database's artifacts, which is beside a SQLite file; a server has its own.

    MLflow's own default is a folder in the place that the command happens to be called from.
    """
    if not uri.startswith(SQLITE):
        return None
    database = Path(uri.removeprefix(SQLITE))
    return str(database.with_name(f"{database.stem}-artifacts"))


class MlflowTracker:
    """The tracker that logs to MLflow.

    Args:
        client: The client.
        experiment: Id of the experiment.
        described: The run.
    """

    def __init__(self, client: MlflowClient, experiment: str, described: Described) -> None:
        self.client = client
        self.experiment = experiment
        self.described = described
        self._run: str | None = None
        self._known: dict[tuple[str, int], float] = {}

    def log(self, moment: Moment) -> None:
        """Log the numbers, files and tags of a moment.

        Raises:
            Exception: Whatever MLflow raises when its server or database does not do it.
        """
        if names_training(moment, is_open=self._run is not None):
            self._open(moment)
        run, event = self._run, moment.event
        if run is None:
            return
        self._log_scalars(run, scalars_of(event), round(moment.time.timestamp() * 1000))
        for path in files_of(event, self.described.folder):
            self.client.log_artifact(run, str(path), path.parent.name)
        if isinstance(event, Trained):
            self._set_tags(run, {"graft.mode": event.mode, "graft.kept": event.kept, "graft.why": event.why})
        elif isinstance(event, Evaluated) and event.transfer is not None:
            self._set_tags(run, {"graft.transfer": event.transfer.answer})
        elif isinstance(event, Packaged):
            self._set_tags(run, {"graft.bento": event.bento or "none"})
        elif isinstance(event, RunEnded):
            self.client.set_terminated(run, STATES[event.state])

    def close(self) -> None:
        """Do nothing: everything was logged when it was told."""

    def _open(self, moment: Moment) -> None:
        """Find the run of a training, or make it."""
        described = self.described
        text = f"{moment.time.isoformat()} {described.choices_sha256}"
        key = hashlib.sha256(text.encode()).hexdigest()
        found = self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        if found:
            run = found[0]
            self.client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {KEY: key, "graft.recipe_sha256": described.recipe_sha256}
            run = self.client.create_run(
                self.experiment,
                start_time=round(moment.time.timestamp() * 1000),
                tags=tags,
                run_name=described.name,
            )
        self._known = dict(self._logged(run))
        self._log_choices(run)
        self.client.log_artifact(run.info.run_id, str(described.folder.recipe))
        self._run = run.info.run_id

    def _logged(self, run: Run) -> Iterator[tuple[tuple[str, int], float]]:
        """Yield the numbers that are logged, the last one of those with the same name and step."""
        for name in run.data.metrics:
            for metric in self.client.get_metric_history(run.info.run_id, name):
                yield (name, metric.step), metric.value

    def _log_choices(self, run: Run) -> None:
        """Log the choices of the recipe that are not yet logged; MLflow allows no change of them."""
        from mlflow.entities import Param

        missing = [
            Param(key, str(value)[:LONGEST])
            for key, value in self.described.choices.items()
            if key not in run.data.params
        ]
        for some in _portions(missing):
            self.client.log_batch(run.info.run_id, params=some)

    def _log_scalars(self, run: str, scalars: Iterable[Scalar], at_ms: int) -> None:
        from mlflow.entities import Metric

        new = [each for each in scalars if self._known.get((_named(each.name), each.step)) != each.value]
        metrics = [Metric(_named(each.name), each.value, at_ms, each.step) for each in new]
        for some in _portions(metrics):
            self.client.log_batch(run, metrics=some)
        self._known |= {(_named(each.name), each.step): each.value for each in new}

    def _set_tags(self, run: str, tags: dict[str, str]) -> None:
        for name, value in tags.items():
            self.client.set_tag(run, name, value[:LONGEST])


def _named(name: str) -> str:
    """Return a name with what MLflow does not allow replaced."""
    return "".join(letter if letter.isalnum() or letter in "_-. :/" else "_" for letter in name)


def _portions(values: Sequence[AnyValue]) -> Iterator[list[AnyValue]]:
    """Yield as many values at a time as MLflow takes at once."""
    for start in range(0, len(values), MOST_AT_ONCE):
        yield list(values[start : start + MOST_AT_ONCE])
