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
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.recipe.search import without_password

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

POSTGRESQL, SQLITE = ("postgresql", "postgres"), "sqlite"
DRIVER = "postgresql+pg8000"
# After so many seconds without an answer the server takes a worker's machine for lost.
KEEPALIVES = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
CONNECT_TIMEOUT_S = 10
POLL_S = 0.02
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

    def claiming(self, study: str) -> AbstractContextManager[None]:
        """Keep all other workers of a study from claiming within the block."""
        ...

    def is_dead(self, worker: int) -> bool:
        """Return whether a worker has ended."""
        ...

    def check(self) -> None:
        """Make sure that others still see this worker alive.

        Raises:
            GraftError: They may not, since the connection has ended.
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


class PostgresStore:
    """A database of PostgreSQL, for workers on any machines.

    Args:
        url: The address, with the password.
    """

    def __init__(self, url: URL) -> None:
        from sqlalchemy import create_engine

        self._url = url
        self.shown = shown_address(url)
        self.worker = secrets.randbits(62)
        self._engine: Engine = create_engine(
            url, isolation_level="AUTOCOMMIT", connect_args=self._connecting(CONNECT_TIMEOUT_S)
        )
        with self.explained("cannot be used"):
            self._connection: Connection = self._engine.connect()
            for name, value in KEEPALIVES.items():
                self._ask(f"SET {name} = {value}")
            self._ask(f"SELECT pg_advisory_lock({self.worker})")

    @property
    def url(self) -> str:
        """The address for Optuna, password included."""
        return self._url.render_as_string(hide_password=False)

    def engine_options(self) -> dict[str, object]:
        """Return the options with which Optuna opens the database."""
        return {"pool_pre_ping": True, "connect_args": self._connecting(LOCK_TIMEOUT_S)}

    def _connecting(self, timeout_s: int) -> dict[str, object]:
        """Return the options of a connection; pg8000 fails without any password where one is wanted."""
        return {"timeout": timeout_s, "password": self._url.password or ""}

    def _ask(self, statement: str) -> Any:  # noqa: ANN401 - a value of a row
        from sqlalchemy import text

        result = self._connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turn what goes wrong with the server within the block into one error, without the password."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise self.error(what, error) from None

    def error(self, what: str, error: BaseException) -> GraftError:
        """Return what went wrong with the server as one error, without the password."""
        return GraftError(f"search.storage: {self.shown} {what}: {reason_of(error)}")

    @contextmanager
    def claiming(self, study: str) -> Iterator[None]:
        """Keep all other workers of a study from claiming within the block."""
        key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:7], "big")
        with self.explained("no longer answers"):
            while not self._ask(f"SELECT pg_try_advisory_lock({key})"):
                time.sleep(POLL_S)
        try:
            yield
        finally:
            with self.explained("no longer answers"):
                self._ask(f"SELECT pg_advisory_unlock({key})")

    def is_dead(self, worker: int) -> bool:
        """Return whether a worker has ended: then its lock can be had."""
        if worker == self.worker:
            return False
        with self.explained("no longer answers"):
            free = bool(self._ask(f"SELECT pg_try_advisory_lock({worker})"))
            if free:
                self._ask(f"SELECT pg_advisory_unlock({worker})")
        return free

    def check(self) -> None:
        """Make sure that the connection that holds the worker's lock has not ended."""
        with self.explained("no longer answers"):
            self._ask("SELECT 1")

    def close(self) -> None:
        """End the worker."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.close()
            self._engine.dispose()
        except (SQLAlchemyError, OSError):  # the server is gone, and the lock with it
            pass


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
    return PostgresStore(url.set(drivername=DRIVER, password=password))


def _not_an_address(storage: str) -> GraftError:
    return GraftError(
        f"search.storage: {without_password(storage)} is no address of a database that trials can be kept in."
        " Write postgresql://USER@HOST/DATABASE, or sqlite:///PATH"
    )


def shown_address(url: URL) -> str:
    """Return the address of a server for people, without the password."""
    port = f":{url.port}" if url.port else ""
    user = f"{url.username}@" if url.username else ""
    return f"postgresql://{user}{url.host}{port}/{url.database}"


REMEDIES = {
    "28P01": "the password is missing or wrong. Set it in the variable PGPASSWORD",
    "28000": "the user is refused. Check the name, and pg_hba.conf of the server",
    "3D000": "there is no such database. Make it with: createdb",
    "53300": "it has too many connections already. Raise max_connections, or use fewer workers",
    "57P03": "it is starting up or shutting down. Repeat the command in a moment",
}


def reason_of(error: BaseException) -> str:
    """Return in one line why a server cannot be used, and what to do; never with a password."""
    origin = getattr(error, "orig", None) or error
    told = origin.args[0] if origin.args else ""
    if isinstance(told, dict):  # as pg8000 gives what the server says
        code, message = str(told.get("C", "")), str(told.get("M", ""))
        return REMEDIES.get(code, message or "it refuses")
    return (
        "nothing answers there. Start the server, or check host and port; trials that are done are kept, and"
        " the same command goes on"
    )
