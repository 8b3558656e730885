"""A server of PostgreSQL that trials are kept in."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import GraftError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import ExceptionContext

DRIVER = "postgresql+pg8000"
# After so many seconds without an answer the server takes a worker's machine for lost.
KEEPALIVES = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 60
POLL_S = 0.02
# What PostgreSQL's option of the address is called, and what it is for pg8000.
SSLMODE = "sslmode"
SSL_CONTEXTS = {"disable": False, "prefer": None, "require": True}


class StoreError(GraftError):
    """A database that cannot be used, or not any more."""


class PostgresStore:
    """A database of PostgreSQL, for workers on any machines.

    Args:
        url: The address, with the password.

    Raises:
        GraftError: The address has an option that is unknown, or the server is not there or refuses.
    """

    def __init__(self, url: URL) -> None:
        from sqlalchemy import create_engine

        # What it logs of connections that have ended is told in one line where it matters.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        self._ssl_context = ssl_context_of(url)
        self._url = url.set(drivername=DRIVER, query={})
        self.shown = shown_address(url)
        self.worker = secrets.randbits(62)
        self._engine: Engine = create_engine(
            self._url, isolation_level="AUTOCOMMIT", connect_args=self._connecting(CONNECT_TIMEOUT_S)
        )
        with self.explained("cannot be used"):
            self._connection: Connection = self._connect()

    @property
    def url(self) -> str:
        """The address for Optuna, password included."""
        return self._url.render_as_string(hide_password=False)

    def engine_options(self) -> dict[str, object]:
        """Return the options with which Optuna opens the database."""
        return {"pool_pre_ping": True, "connect_args": self._connecting(ANSWER_TIMEOUT_S)}

    def prepare(self, engine: Engine) -> None:
        """Let Optuna's connections be made anew where the server has ended them while nobody used them.

        SQLAlchemy looks before it uses one, but does not know all of pg8000's errors.

        Args:
            engine: Optuna's engine.
        """
        from sqlalchemy import event

        event.listen(engine.dialect, "handle_error", _mark_disconnected)

    def _connecting(self, timeout_s: int) -> dict[str, object]:
        """Return the options of a connection; pg8000 fails without any password where one is wanted."""
        password = self._url.password or ""
        return {"timeout": timeout_s, "password": password, "ssl_context": self._ssl_context}

    def _connect(self) -> Connection:
        """Return a connection that holds the worker's lock for as long as it lasts."""
        connection = self._engine.connect()
        for statement in (
            *(f"SET {name} = {value}" for name, value in KEEPALIVES.items()),
            f"SELECT pg_advisory_lock({self.worker})",
        ):
            connection.exec_driver_sql(statement)
        return connection

    def _ask(self, statement: str) -> Any:  # noqa: ANN401 - a value of a row
        result = self._connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None

    @contextmanager
    def explained(self, what: str = "no longer answers") -> Iterator[None]:
        """Turn what goes wrong with the server within the block into one error, without the password.

        Args:
            what: What is then told of the server.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            reason = reason_of(error.__cause__ or error)
            raise StoreError(f"search.storage: {self.shown} {what}: {reason}") from None

    @contextmanager
    def claiming(self, study: str) -> Iterator[None]:
        """Keep all other workers of a study from claiming within the block."""
        key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:7], "big")
        with self.explained():
            while not self._ask(f"SELECT pg_try_advisory_lock({key})"):
                time.sleep(POLL_S)
        try:
            yield
        finally:
            with self.explained():
                self._ask(f"SELECT pg_advisory_unlock({key})")

    def is_dead(self, worker: int) -> bool:
        """Return whether a worker has ended: then its lock can be had."""
        if worker == self.worker:
            return False
        with self.explained():
            free = bool(self._ask(f"SELECT pg_try_advisory_lock({worker})"))
            if free:
                self._ask(f"SELECT pg_advisory_unlock({worker})")
        return free

    def check(self) -> None:
        """Hold the worker's lock again where the connection has ended, as one does that is idle for hours.

        Meanwhile another worker may have taken the trial over.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._ask("SELECT 1")
        except (SQLAlchemyError, OSError):
            with self.explained():
                self._connection.invalidate()
                self._connection = self._connect()

    def close(self) -> None:
        """End the worker."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.close()
            self._engine.dispose()
        except (SQLAlchemyError, OSError):  # the server is gone, and the lock with it
            pass


def _mark_disconnected(context: ExceptionContext) -> None:
    """Tell SQLAlchemy that a connection which failed when it was looked at has ended."""
    if context.is_pre_ping:
        context.is_disconnect = True


def ssl_context_of(url: URL) -> bool | None:
    """Return how the address wants the connection encrypted, as pg8000 takes it; None where SSL may be.

    Args:
        url: The address, of which ``sslmode`` is the one option that is known.

    Raises:
        GraftError: It has another option, or a mode that is unknown.
    """
    unknown = [name for name in url.query if name != SSLMODE]
    if unknown:
        raise GraftError(
            f"search.storage: {shown_address(url)} has options that are unknown: {', '.join(unknown)}. Known"
            f" is {SSLMODE} alone; a password is taken from the variable PGPASSWORD"
        )
    mode = url.query.get(SSLMODE, "prefer")
    if not isinstance(mode, str) or mode not in SSL_CONTEXTS:
        raise GraftError(
            f"search.storage: {shown_address(url)}?{SSLMODE}={mode} is unknown. Write one of"
            f" {', '.join(SSL_CONTEXTS)}"
        )
    return SSL_CONTEXTS[mode]


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
    if "refuses SSL" in str(told):
        return f"it has no SSL. Turn it on there, or write {SSLMODE}=prefer"
    return (
        "nothing answers there. Start the server, or check host and port; trials that are done are kept, and"
        " the same command goes on"
    )
