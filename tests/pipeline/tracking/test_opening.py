"""What is wrong with a tracker is told before the work begins; what breaks later ends nothing."""

from __future__ import annotations

import base64
import logging
import os
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.machine import extras
from pipeline.recipe.reading import dump_recipe, parse_recipe
from pipeline.recipe.sections import Recipe
from pipeline.tracking.current import tell
from pipeline.tracking.described import describe
from pipeline.tracking.events import EpochJudged, Event, RunEnded, StageBegun, StageEnded
from pipeline.tracking.history import HistoryFile, read_moments
from pipeline.tracking.opening import tracked
from pipeline.tracking.tensorboard import open_tensorboard
from tests.conftest import make_once, recipe_document
from tests.pipeline.tracking.moments import begun, epoch
from tests.pipeline.tracking.stores import Place

FOUND_DONE = StageEnded(stage="finetune", state="skipped", seconds=0)
PASSWORD = "s3cret-word"


def recipe_with(**tracking: object) -> Recipe:
    return parse_recipe(recipe_document(Path("x"), Path("w"), tracking=tracking))


def run_in(folder: Path, recipe: Recipe) -> RunFolder:
    run = RunFolder(folder)
    run.root.mkdir(exist_ok=True)
    run.recipe.write_text(dump_recipe(recipe))
    return run


def refusal(folder: Path, **tracking: object) -> str:
    """The error with which the trackers refuse, before anything is carried out."""
    recipe = recipe_with(**tracking)
    with pytest.raises(GraftError) as error, tracked(recipe, run_in(folder, recipe)):
        pytest.fail("the work began")
    return str(error.value)


@pytest.mark.parametrize(
    ("package", "extra"),
    [("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("alembic", "mlflow")],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "_is_found", lambda module: module != package)
    asked = {"tensorboard": True} if extra == "tensorboard" else {"mlflow": {"uri": "sqlite:///x.db"}}
    assert f"pip install 'graft-ml[{extra}]'" in refusal(tmp_path, **asked)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal(tmp_path / "run", tensorboard=str(tmp_path / "file" / "boards"))
    assert "tracking.tensorboard" in message
    assert "Name another folder" in message


def test_a_server_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        message = refusal(tmp_path, mlflow={"uri": f"http://127.0.0.1:{taken.getsockname()[1]}"})
    assert "tracking.mlflow.uri: http://127.0.0.1" in message
    assert "Start the server" in message


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (tmp_path / "x.db").write_text("no database at all, but a text of some length" * 50)
    message = refusal(tmp_path, mlflow={"uri": f"sqlite:///{tmp_path}/x.db"})
    assert "not a database" in message


@contextmanager
def refusing_server(seen: list[str]) -> Iterator[int]:
    """A server that lets nobody in, and notes who knocked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_refused_password_is_told_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    seen: list[str] = []
    with refusing_server(seen) as port, caplog.at_level(logging.DEBUG):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://graft:{PASSWORD}@127.0.0.1:{port}")
        message = refusal(tmp_path, mlflow={"uri": "environment"})
    assert base64.b64decode(seen[0].removeprefix("Basic ")).decode() == f"graft:{PASSWORD}"
    assert f"http://***@127.0.0.1:{port} cannot be used" in message
    assert "401" in message
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert PASSWORD not in message + caplog.text + written


@pytest.mark.parametrize("value", ["", "./mlruns", "ftp://host"])
def test_an_environment_without_an_address_is_refused(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert "MLFLOW_TRACKING_URI is" in refusal(tmp_path, mlflow={"uri": "environment"})


def test_a_database_in_the_environment_that_is_not_there_keeps_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+pg8000://graft:{PASSWORD}@127.0.0.1:9/mlflow")
    message = refusal(tmp_path, mlflow={"uri": "environment"})
    assert "postgresql+pg8000://graft@127.0.0.1:9/mlflow cannot be used" in message
    assert PASSWORD not in message


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+pg8000://graft@127.0.0.1:9/mlflow?PassWord={PASSWORD}",
        f"http://127.0.0.1:9/x?a=1&access_token={PASSWORD}",
    ],
)
def test_a_password_in_the_query_of_the_environment_is_shown_nowhere(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with caplog.at_level(logging.DEBUG):
        message = refusal(tmp_path, mlflow={"uri": "environment"})
    assert f"tracking.mlflow.uri: {address.replace(PASSWORD, '***')} cannot be used" in message
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert PASSWORD not in message + caplog.text + written


@pytest.mark.parametrize(
    ("scheme", "package"),
    [
        ("postgresql+psycopg2", "psycopg2-binary"),
        ("postgresql+psycopg", "'psycopg[binary]'"),
        ("mysql", "mysqlclient"),
        ("mysql+pymysql", "pymysql"),
    ],
)
def test_a_missing_driver_is_named_with_the_package_that_brings_it(
    scheme: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("psycopg2", "psycopg", "MySQLdb", "pymysql"):
        monkeypatch.setitem(sys.modules, module, None)  # as if none were installed
    message = refusal(tmp_path, mlflow={"uri": f"{scheme}://graft@127.0.0.1:9/mlflow"})
    assert f"Try: pip install {package}" in message
    assert "Start the server" not in message


@pytest.fixture
def store(tmp_path: Path, common: Path) -> Place:
    """A run's folder that nothing is told of yet, and a store with an experiment that was deleted."""

    def make(database: Path) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{database}")
        client.delete_experiment(client.create_experiment("deleted", str(database.parent / "artifacts")))

    database = Path(shutil.copy(make_once(common, "store.db", make), tmp_path / "mlflow.db"))
    return Place(RunFolder(tmp_path / "run"), database, tmp_path / "boards")


def recipe_of(store: Place, experiment: str = "tests") -> Recipe:
    address = f"sqlite:///{store.database}"
    return recipe_with(tensorboard=str(store.boards), mlflow={"uri": address, "experiment": experiment})


def test_a_deleted_experiment_is_refused(store: Place) -> None:
    recipe = recipe_of(store, "deleted")
    run = run_in(store.folder.root, recipe)
    with pytest.raises(GraftError, match=r"deleted was deleted\. Restore it"), tracked(recipe, run):
        pytest.fail("the work began")


def points(store: Place, name: str = "full/validation_loss") -> list[list[int]]:
    """The steps of a curve in each run of MLflow, and in each training of TensorBoard."""
    client = store.client()
    runs = sorted(store.runs(), key=lambda run: run.info.start_time)
    logged = [[each.step for each in client.get_metric_history(run.info.run_id, name)] for run in runs]
    written = [[each.step for each in board.Scalars(name)] for board in store.boards_read().values()]
    assert logged == written
    return logged


def tell_all(store: Place, *events: Event) -> None:
    """A command in which these things happen."""
    recipe = recipe_of(store)
    with tracked(recipe, run_in(store.folder.root, recipe)):
        for event in events:
            tell(event)


def judged(number: int) -> Event:
    return epoch(number).event


def test_a_training_that_goes_on_keeps_its_run_and_one_that_begins_anew_has_its_own(store: Place) -> None:
    begin, go_on = StageBegun(stage="finetune"), StageBegun(stage="finetune", resumed=True)
    tell_all(store, begin, judged(0), judged(1))
    tell_all(store, go_on, judged(1), judged(2))
    assert points(store) == [[0, 1, 2]]
    tell_all(store, begin, judged(0))
    assert points(store) == [[0, 1, 2], [0]]


def test_an_earlier_training_is_none_of_a_new_ones_business(store: Place) -> None:
    """It may be of another recipe, whose choices would stand beside its curve."""
    silent = recipe_with()
    with tracked(silent, run_in(store.folder.root, silent)):
        for event in (StageBegun(stage="finetune"), judged(0), judged(1)):
            tell(event)
    data = StageBegun(stage="data"), StageEnded(stage="data", state="done", seconds=1)
    tell_all(store, *data)
    assert store.runs() == []
    tell_all(store, *data, StageBegun(stage="finetune"), judged(0))
    assert points(store) == [[0]]


def test_a_tracker_that_is_asked_for_later_is_told_of_the_epochs_before(store: Place) -> None:
    silent = recipe_with()
    with tracked(silent, run_in(store.folder.root, silent)):
        for event in (StageBegun(stage="finetune"), judged(0), judged(1)):
            tell(event)
    tell_all(store, FOUND_DONE)
    assert points(store) == [[0, 1]]


def test_how_a_command_ends_is_told(store: Place) -> None:
    with pytest.raises(KeyboardInterrupt):
        _stop(store)
    last = read_moments(store.folder.history)[-1].event
    assert last == RunEnded(state="stopped", error="KeyboardInterrupt")
    assert [run.info.status for run in store.runs()] == ["KILLED"]
    tell_all(store, FOUND_DONE)
    assert [run.info.status for run in store.runs()] == ["FINISHED"]


def _stop(store: Place) -> None:
    recipe = recipe_of(store)
    with tracked(recipe, run_in(store.folder.root, recipe)):
        tell(StageBegun(stage="finetune"))
        raise KeyboardInterrupt


def test_a_store_that_breaks_in_the_middle_ends_nothing_and_is_made_up_for(
    store: Place, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_of(store)
    with caplog.at_level(logging.WARNING), tracked(recipe, run_in(store.folder.root, recipe)):
        tell(StageBegun(stage="finetune"))
        tell(judged(0))
        whole = store.database.read_bytes()
        store.database.write_bytes(os.urandom(len(whole)))
        for number in (1, 2, 3):
            tell(judged(number))
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in told] == ["graft", "graft"]
    assert "MLflow failed" in told[0].getMessage()
    assert "Repeat the command" in told[0].getMessage()
    assert "misses the last" in told[1].getMessage()
    events = [moment.event for moment in read_moments(store.folder.history)]
    assert [event.figures.epoch for event in events if isinstance(event, EpochJudged)] == [0, 1, 2, 3]
    store.database.write_bytes(whole)
    tell_all(store, FOUND_DONE)
    assert points(store) == [[0, 1, 2, 3]]


def test_a_torn_file_of_tensorboard_is_gone_on_from(store: Place) -> None:
    tell_all(store, StageBegun(stage="finetune"), judged(0), judged(1))
    (file,) = store.boards.rglob("events.*")
    file.write_bytes(file.read_bytes()[:-20])
    tell_all(store, StageBegun(stage="finetune", resumed=True), judged(2))
    assert points(store) == [[0, 1, 2]]


@contextmanager
def full_disk(file: Path, room: int) -> Iterator[None]:
    """The system lets files grow to the size of this one and a little more, and no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_curves_go_on_after_a_full_disk(store: Place) -> None:
    described = describe(recipe_with(), RunFolder(store.folder.root))
    tracker = open_tensorboard(store.boards, described)
    tracker.log(begun())
    tracker.log(epoch(0))
    (file,) = store.boards.rglob("events.*")
    with full_disk(file, 20), pytest.raises(OSError, match="too large"):
        tracker.log(epoch(1))
    tracker.log(epoch(1))
    tracker.log(epoch(2))
    tracker.close()
    (board,) = store.boards_read().values()
    assert [each.step for each in board.Scalars("full/validation_loss")] == [0, 1, 2]
    assert [each.step for each in board.Scalars("full/samples_per_s")] == [0, 1, 2]


def test_the_history_goes_on_after_a_full_disk(tmp_path: Path) -> None:
    history = HistoryFile(tmp_path / "h.jsonl")
    history.log(begun())
    with full_disk(history.path, 20), pytest.raises(OSError, match=r"too large|only a part"):
        history.log(epoch(1))
    assert read_moments(history.path) == (begun(),)
    history.log(epoch(1))
    assert read_moments(history.path) == (begun(), epoch(1))
