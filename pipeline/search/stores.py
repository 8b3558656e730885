"""The databases that trials are kept in, with locks that end with the process which holds them.

A worker holds a lock of its own for as long as it lives. The kernel releases it, or the server of PostgreSQL
does when the connection ends, however the worker dies: so a dead worker is known at once and for certain, and
no heartbeat takes a slow one for dead. What workers have to agree on, they do one at a time under another
lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.recipe.addresses import bare_address
from pipeline.search.postgres import PostgresStore, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine

POSTGRESQL, SQLITE = ("postgresql", "postgres"), "sqlite"
LOCK_TIMEOUT_S = 60


class Store(Protocol):
    """A database with the trials of studies.

    Attributes:
        shown: The address for people.
        worker: A number of this worker's own.
    """

    shown: str
    worker: int

    @property
    def url(self) -> str:
        """The address for Optuna, password included: it is never shown."""
        ...

    def engine_options(self) -> dict[str, object]:
        """Return the options with which Optuna opens the database."""
        ...

    def prepare(self, engine: Engine) -> None:
        """Make Optuna's engine fit the database.

        Args:
            engine: The engine.
        """
        ...

    def explained(self) -> AbstractContextManager[None]:
        """Turn what goes wrong with the database within the block into one error, without the password."""
        ...

    def claiming(self, study: str) -> AbstractContextManager[None]:
        """Keep all other workers of a study from claiming within the block."""
        ...

    def is_dead(self, worker: int) -> bool:
        """Return whether a worker has ended."""
        ...

    def check(self) -> None:
        """Make sure that others see this worker alive from now on.

        Raises:
            StoreError: They cannot, since the database does not answer.
        """
        ...

    def close(self) -> None:
        """End the worker: its locks are released."""
        ...


class SqliteStore:
    """A file of SQLite, for the workers of one machine.

    Args:
        path: The file; a folder for locks is made beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = str(path)
        self.worker = secrets.randbits(62)
        self._locks = path.parent / f"{path.name}.workers"
        self._locks.mkdir(parents=True, exist_ok=True)
        self._own = self._lock_of(self.worker).open("w")
        fcntl.flock(self._own, fcntl.LOCK_EX)

    @property
    def url(self) -> str:
        """The address for Optuna."""
        return f"sqlite:///{self.path.absolute()}"

    def engine_options(self) -> dict[str, object]:
        """Return the options with which Optuna opens the file: it waits for other writers."""
        return {"connect_args": {"timeout": LOCK_TIMEOUT_S}}

    def prepare(self, engine: Engine) -> None:
        """Leave Optuna's engine as it is."""

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong with the file within the block into one error."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise StoreError(
                f"{self.shown}: cannot be used as the database of a search ({reason}). Free some space, or"
                " give yourself the right to it; a damaged file can only be removed, and the search"
                " begins anew"
            ) from error

    def _lock_of(self, worker: int) -> Path:
        return self._locks / f"{worker}.lock"

    @contextmanager
    def claiming(self, study: str) -> Iterator[None]:
        """Keep all other workers of a study from claiming within the block."""
        name = hashlib.sha256(study.encode()).hexdigest()[:16]
        with (self._locks / f"claim-{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_dead(self, worker: int) -> bool:
        """Return whether a worker has ended: then its lock can be had."""
        lock = self._lock_of(worker)
        if worker == self.worker or not lock.exists():
            return worker != self.worker
        with lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            lock.unlink(missing_ok=True)
            return True

    def check(self) -> None:
        """Do nothing: the kernel holds the lock for as long as this process lives."""

    def close(self) -> None:
        """End the worker."""
        self._lock_of(self.worker).unlink(missing_ok=True)
        self._own.close()


def open_store(storage: str | None, usual: Path) -> Store:
    """Open the database that a recipe or an option names.

    Args:
        storage: Its address; None for the usual file.
        usual: The file of SQLite that is used then.

    Raises:
        GraftError: The address is of no such database, or the server is not there, or refuses the password.
    """
    if storage is None:
        usual.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(usual)
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):
        raise _not_an_address(storage) from None
    kind = url.drivername.partition("+")[0]
    if kind == SQLITE and url.database:
        path = Path(url.database).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(path)
    if kind not in POSTGRESQL or not url.host or not url.database:
        raise _not_an_address(storage)
    require("pg8000")
    password = url.password or os.environ.get("PGPASSWORD")
    return PostgresStore(url.set(password=password))


def _not_an_address(storage: str) -> GraftError:
    return GraftError(
        f"search.storage: {bare_address(storage)} is no address of a database that trials can be kept in."
        " Write postgresql://USER@HOST/DATABASE, or sqlite:///PATH"
    )
