"""Workers that share a study in a real server of PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from pipeline.errors import GraftError
from pipeline.recipe.reading import load_recipe
from pipeline.search.samplers import pruner_named
from pipeline.search.space import space_of
from pipeline.search.stores import open_store
from pipeline.search.studies import Study, TakenOverError
from tests.pipeline.search.places import (
    HAS_SERVER,
    HEADS,
    PASSWORD,
    Server,
    Worker,
    ended,
    kill_at_work,
    lines,
    postgres,
    wait_for_lines,
    write_recipe,
)

pytestmark = pytest.mark.skipif(not HAS_SERVER, reason="no server of PostgreSQL is installed")
SECRET = {"PGPASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server; its folder has to be one that another user than root reaches."""
    folder = tmp_path_factory.mktemp("postgres")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and len(parent.parts) > 2:
            parent.chmod(0o755)
    with postgres(folder) as running:
        yield running


@pytest.fixture
def recipe(tmp_path: Path, pictures: Path, tiny_weights: Path) -> Path:
    return write_recipe(
        tmp_path, pictures, tiny_weights, {"space": HEADS, "trials": 12, "method": "random", "seed": 1}
    )


def test_two_workers_share_a_study_and_the_trial_of_a_killed_one_is_tried_again(
    server: Server, tmp_path: Path, recipe: Path
) -> None:
    together = {"storage": server.url(), "study": "shared"}
    folder = tmp_path / "workers"
    # On two machines each worker has a folder of its own.
    first = Worker(folder, recipe, tmp_path / "run-1", pause_s=0.5, env=SECRET, **together)
    second = Worker(folder, recipe, tmp_path / "run-2", pause_s=0.5, env=SECRET, **together)
    wait_for_lines(folder, 6)
    kill_at_work(first)
    trials = second.trials()
    assert [row[0] for row in trials] == list(range(12))
    assert [row[2] for row in trials].count(2) == 1, "the kill has hit no trial, or more than one"
    assert sorted(set(ended(folder))) == sorted(ended(folder)), "a trial was done twice"
    assert len(ended(folder)) == 12
    alone = Worker(tmp_path / "alone", recipe, tmp_path / "run-1")
    assert [row[3] for row in alone.trials()] == [row[3] for row in trials], "a seed gives the same trials"


def test_a_server_that_ends_gives_one_error_and_the_same_command_goes_on(
    server: Server, tmp_path: Path, recipe: Path
) -> None:
    together = {"storage": server.url(PASSWORD), "study": "cut off"}
    folder = tmp_path / "workers"
    worker = Worker(folder, recipe, tmp_path / "run", pause_s=0.2, **together)
    wait_for_lines(folder, 5)
    server.stop()
    error = worker.error()
    server.start()
    assert error.startswith(f"search.storage: postgresql://grafter@127.0.0.1:{server.port}/postgres ")
    assert "no longer answers" in error
    assert PASSWORD not in error
    assert "\n" not in error
    trials = Worker(folder, recipe, tmp_path / "run", **together).trials()
    assert [row[0] for row in trials] == list(range(12))
    assert len(set(ended(folder))) == 12
    begun = [line for line in lines(folder) if line[0] == "begun"]
    assert 12 <= len(begun) <= 13, "what was done before the server ended is done again"
    left = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert tmp_path / "run" / "search" / "best.yaml" in left
    assert [path for path in left if PASSWORD.encode() in path.read_bytes()] == []


def test_a_worker_whose_connection_is_cut_goes_on_unless_another_took_its_trial_over(
    server: Server, recipe: Path
) -> None:
    opened = load_recipe(recipe)
    space, pruner = space_of(opened), pruner_named("none", 2)
    stores = [open_store(server.url(PASSWORD), Path("unused")) for _ in range(2)]
    first, second = (Study(store, "cut", opened.search, space, 0, pruner, {}) for store in stores)
    claim = first.claim(3)
    server.cut_connections()
    first.finish(claim, 0.5, 1.0)
    claim = first.claim(3)
    server.cut_connections()
    other = second.claim(3)
    assert (claim.place, other.place) == (1, 1)
    assert other.values == claim.values
    with pytest.raises(TakenOverError):
        first.should_end(claim, 1, 0.25)
    with pytest.raises(TakenOverError):
        first.finish(claim, 0.25, 1.0)
    second.finish(other, 0.75, 1.0)
    assert [(row.place, row.value, row.tries) for row in first.rows()] == [(0, 0.5, 1), (1, 0.75, 2)]
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("user", "database", "told"),
    [
        (f":{PASSWORD}x", "postgres", "the password is missing or wrong. Set it in the variable PGPASSWORD"),
        ("", "postgres", "the password is missing or wrong. Set it in the variable PGPASSWORD"),
        (f":{PASSWORD}", "nowhere", "there is no such database"),
    ],
)
def test_a_server_that_refuses_is_told_in_one_line_without_the_password(
    server: Server, user: str, database: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    url = f"postgresql://grafter{user}@127.0.0.1:{server.port}/{database}"
    with pytest.raises(GraftError) as error:
        open_store(url, tmp_path / "trials.db")
    assert told in str(error.value)
    assert PASSWORD not in str(error.value)
    assert error.value.__cause__ is None


def test_a_dead_worker_is_known_at_once_and_a_slow_one_is_not_taken_for_dead(server: Server) -> None:
    first, second = (open_store(server.url(PASSWORD), Path("unused")) for _ in range(2))
    assert not second.is_dead(first.worker)
    first.close()
    deadline = time.monotonic() + 5
    while not second.is_dead(first.worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second.close()


def test_a_connection_is_encrypted_as_the_address_says(server: Server) -> None:
    def is_encrypted(mode: str) -> bool:
        store = open_store(f"{server.url(PASSWORD)}?sslmode={mode}", Path("unused"))
        try:
            engine = create_engine(store.url, **store.engine_options())
            with engine.connect() as connection:
                statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                return bool(connection.exec_driver_sql(statement).scalar())
        finally:
            engine.dispose()
            store.close()

    assert [is_encrypted(mode) for mode in ("disable", "prefer")] == [False, False]
    with pytest.raises(GraftError, match=r"it has no SSL. Turn it on there, or write sslmode=prefer$"):
        is_encrypted("require")
    server.turn_ssl_on()
    assert [is_encrypted(mode) for mode in ("disable", "prefer", "require")] == [False, True, True]
