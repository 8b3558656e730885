"""Recipes to search, workers in processes of their own, and a server of PostgreSQL."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.migration
import optuna.importance
import optuna.samplers
import pg8000.dbapi
import pytest
import sqlalchemy.dialects.postgresql.pg8000
import sqlalchemy.dialects.sqlite
import yaml

from pipeline.errors import GraftError
from pipeline.recipe.sections import Recipe
from pipeline.search.bench import Bench, Result, Score
from pipeline.search.search import Changes, search
from tests.conftest import free_port, recipe_document

# What forks would load one after the other.
LOADED = (
    alembic.migration,
    optuna,
    pg8000,
    sqlalchemy.dialects.postgresql.pg8000,
    sqlalchemy.dialects.sqlite,
)
BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/local/bin"))
HAS_SERVER = (BINARIES / "initdb").exists() and (os.geteuid() != 0 or bool(shutil.which("setpriv")))
USER, PASSWORD = "grafter", "s3cr3t-Passw0rd"
HEADS = {
    "finetune.penalty": {"low": 0.001, "high": 10, "log": True},
    "finetune.logit_adjustment": {"low": 0.0, "high": 1.0},
}


def write_recipe(
    folder: Path, pictures: Path, weights: Path, search: dict[str, object], **finetune: object
) -> Path:
    """A recipe on the small pictures whose trials are heads, unless its section `finetune` says otherwise."""
    document = recipe_document(pictures, weights)
    document["finetune"] = {"mode": "features", "device": "cpu", **finetune}
    document["search"] = search
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def work(
    folder: Path, recipe: Path, run: Path, pause_s: float, env: dict[str, str], changes: Changes
) -> None:
    """Search with trials that do nothing but wait, and leave what they found, or the error.

    Each trial leaves a line when it begins and one when it has ended.
    """
    os.environ.update(env)

    def carry_out(self: Bench, recipe: Recipe, watch: object, held_out: object = None) -> Result:
        section = recipe.finetune
        for what, seconds in (("begun", pause_s), ("ended", 0.0)):
            with (folder / "log").open("a") as log:
                log.write(json.dumps([what, os.getpid(), section.penalty, section.logit_adjustment]) + "\n")
            time.sleep(seconds)
        return Result(Score(abs((section.penalty or 0) - 0.3) + section.logit_adjustment, 0.5, 0.5))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "carry_out", carry_out)
        patch.setattr("pipeline.search.page.write_page", lambda *_: None)  # which takes a second
        result = folder / f"result-{os.getpid()}"
        try:
            found = search(recipe, run, None, changes)
        except GraftError as error:
            result.write_text(json.dumps({"error": str(error)}))
        else:
            rows = [[row.place, row.value, row.tries, dict(row.values)] for row in found.trials]
            result.write_text(json.dumps({"trials": rows}))


class Worker:
    """A worker whose trials do nothing but wait, as a process of its own.

    Args:
        folder: Where it leaves its log and its result.
        recipe: The recipe.
        run: The run's folder.
        pause_s: Seconds that a trial takes.
        env: What it has in its environment besides.
        changes: What the command line would change.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Path,
        run: Path,
        *,
        pause_s: float = 0.0,
        env: dict[str, str] | None = None,
        **changes: object,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        arguments = (folder, recipe, run, pause_s, env or {}, Changes(**changes))
        # A fork has all libraries loaded, which takes a second otherwise.
        self.process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def result(self) -> dict[str, object]:
        """What it left: all trials, or the error."""
        self.process.join(timeout=60)
        assert self.process.exitcode == 0
        left: dict[str, object] = json.loads((self.folder / f"result-{self.process.pid}").read_text())
        return left

    def trials(self) -> list[list[object]]:
        """What it tells of all trials at the end: place, value, tries and values of each."""
        result = self.result()
        assert "trials" in result, result
        return result["trials"]

    def error(self) -> str:
        return str(self.result()["error"])


def lines(folder: Path) -> list[tuple[object, ...]]:
    """What the trials of some workers have left so far."""
    path = folder / "log"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_lines(folder: Path, count: int, timeout_s: float = 30) -> None:
    """Wait until trials have left so many lines."""
    deadline = time.monotonic() + timeout_s
    while len(lines(folder)) < count:
        assert time.monotonic() < deadline, "no trial has begun"
        time.sleep(0.01)


def kill_at_work(worker: Worker) -> None:
    """Kill a worker in the middle of a trial."""
    wait_until_at_work(worker)
    worker.kill()


def wait_until_at_work(*workers: Worker) -> None:
    """Wait until all workers are in the middle of a trial."""
    deadline = time.monotonic() + 30
    while not all(_last_line(worker) == "begun" for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _last_line(worker: Worker) -> object:
    own = [line[0] for line in lines(worker.folder) if line[1] == worker.process.pid]
    return own[-1] if own else None


def ended(folder: Path) -> list[tuple[object, ...]]:
    """The values of the trials that came to their end, in that order."""
    return [tuple(values) for what, _, *values in lines(folder) if what == "ended"]


class Server:
    """A server of PostgreSQL that listens on a port of this machine.

    Args:
        folder: Where its data lie.
        run: Runs a command as a user that the server accepts.
    """

    def __init__(self, folder: Path, run: Callable[..., None]) -> None:
        self.folder = folder
        self.port = free_port()
        self._run = run

    def url(self, password: str | None = None, database: str = "postgres") -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://{USER}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", options, "start"
        )

    def stop(self) -> None:
        """End it at once, with all connections, as a machine that fails does."""
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")

    def turn_ssl_on(self) -> None:
        """Let it offer encrypted connections from now on, with a certificate that it signs itself."""
        data = self.folder / "data"
        names = ("-keyout", data / "server.key", "-out", data / "server.crt")
        request = ("openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=graft", "-newkey", "rsa:2048")
        subprocess.run([*request, *names], check=True, capture_output=True, timeout=60)
        for file in (data / "server.key", data / "server.crt"):
            file.chmod(0o600)
            os.chown(file, data.stat().st_uid, data.stat().st_gid)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\n")
        self._run("pg_ctl", "-D", data, "reload")
        deadline = time.monotonic() + 20
        while not self._has_ssl():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _has_ssl(self) -> bool:
        with pg8000.dbapi.connect(USER, "127.0.0.1", "postgres", self.port, PASSWORD) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW ssl")
            return cursor.fetchone()[0] == "on"

    def cut_connections(self) -> None:
        """End all connections that do nothing at the moment, as a firewall does."""
        with pg8000.dbapi.connect(USER, "127.0.0.1", "postgres", self.port, PASSWORD) as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """A running server; it does not run as root, so that another user does it then."""
    switch: list[str] = []
    if os.geteuid() == 0:
        switch = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")

    def run(name: str, *arguments: object) -> None:
        command = [*switch, BINARIES / name, *arguments]
        done = subprocess.run(
            list(map(str, command)), cwd=folder, stdout=subprocess.DEVNULL, check=False, timeout=60
        )
        assert done.returncode == 0, command

    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    run("initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
    server = Server(folder, run)
    server.start()
    try:
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
