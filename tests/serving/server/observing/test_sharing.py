"""What workers share of their metrics, where there is little room or none, and beside another service."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.model.schemas import ModelInfo, Prediction
from serving.model.timings import Timings
from serving.server.observing.metrics import MOST_SERIES, Metrics
from serving.server.observing.sharing import DEATHS as WORKER_DEATHS
from serving.server.observing.sharing import FILE_BYTES, FOLDER, share_metrics, tell_deaths
from tests.conftest import free_port
from tests.serving.processes import (
    UNSHARE,
    WITH_TMPFS,
    Service,
    may_mount,
    predict,
    serve_command,
    started,
    wait_for,
    workers_of,
)

KIB = 1024
REQUESTS, DEATHS = "graft_requests_total", "graft_worker_deaths_total"


def total(url: str, name: str = REQUESTS, **labels: str) -> float:
    """The sum of a metric's samples that have these labels, by default of the answered predictions."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200
    return read(answer.text, name, **(labels or ({"route": "predict"} if name == REQUESTS else {})))


def read(text: str, name: str, **labels: str) -> float:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(
        sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
    )


@contextmanager
def on_small_disk(bundle: Path, folder: Path, size: str) -> Iterator[Service]:
    """A service of two workers whose temporary folder is a file system of that size."""
    if not may_mount():
        pytest.skip("no mount namespace may be made here")
    (folder / "small").mkdir()
    port = free_port()
    command = [*UNSHARE, "sh", "-c", WITH_TMPFS, size, *serve_command(bundle, "--port", port, "--workers", 2)]
    with started(command, folder / "log", TMPDIR=str(folder / "small")) as process:
        service = Service(f"http://127.0.0.1:{port}", process, folder / "log")
        wait_for(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
        yield service


def warnings(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "warning"]


@pytest.mark.slow
def test_workers_that_find_no_room_count_for_themselves_and_live(tiny_run: Path, tmp_path: Path) -> None:
    with on_small_disk(tiny_run / "bundle", tmp_path, "600k") as service:
        wait_for(lambda: len(warnings(service)) == 2)
        assert all("counts for itself alone" in warning for warning in warnings(service))
        workers = set(workers_of(service.process))
        assert len(workers) == 2
        assert predict(service.url, 50) == {200}
        assert 0 <= total(service.url) <= 50, "each worker tells its own"
        assert set(workers_of(service.process)) == workers


@pytest.mark.slow
def test_workers_go_on_counting_when_the_disk_becomes_full(tiny_run: Path, tmp_path: Path) -> None:
    with on_small_disk(tiny_run / "bundle", tmp_path, "4m") as service:
        disk = (
            Path(f"/proc/{service.process.pid}/root") / tmp_path.relative_to("/") / "small"
        )  # as its process sees it
        wait_for(lambda: len(list(disk.glob("*/*.db"))) == 2 * len(FILE_BYTES))
        workers = set(workers_of(service.process))
        fill(disk / "filler")
        assert predict(service.url, 50) == {200}
        for path in ("v2", "docs", "docs.json", "", "healthz", "nothing"):  # each a new series
            httpx.get(f"{service.url}/{path}")
        assert total(service.url) == 50
        assert set(workers_of(service.process)) == workers
        assert total(service.url, DEATHS) == 0
        assert warnings(service) == []
        killed = min(workers)
        psutil.Process(killed).kill()
        wait_for(lambda: len(found := set(workers_of(service.process))) == 2 and killed not in found)
        wait_for(lambda: any("counts for itself alone" in warning for warning in warnings(service)))
        assert predict(service.url, 10) == {200}
        assert {total(service.url, DEATHS) for _ in range(10)} == {1}
        (folder,) = disk.glob("graft-metrics-*")
        shutil.rmtree(folder)
        assert all(total(service.url) < 60 for _ in range(10)), "each worker tells its own"
        assert set(workers_of(service.process)) >= workers - {killed}


def fill(path: Path) -> None:
    """Write until there is no room."""
    block = bytes(4 * KIB)
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.writelines(itertools.repeat(block))


@contextmanager
def bento(tag: str, folder: Path) -> Iterator[Service]:
    folder.mkdir()
    port = free_port()
    with started(
        [sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)],
        folder / "log",
        TMPDIR=str(folder),
    ) as process:
        service = Service(f"http://127.0.0.1:{port}", process, folder / "log")
        wait_for(lambda: httpx.get(f"{service.url}/readyz").status_code == 200, 60)
        yield service
    assert not list(folder.glob("graft-metrics-*"))


@pytest.mark.slow
def test_two_bentos_of_one_home_count_for_themselves(tiny_run: Path, tmp_path: Path) -> None:
    tag = json.loads((tiny_run / "package" / "bento.json").read_text())["bento"]
    with bento(tag, tmp_path / "a") as first:
        assert predict(first.url, 5) == {200}
        with bento(tag, tmp_path / "b") as second:
            assert predict(second.url, 3) == {200}
            assert [total(first.url), total(second.url)] == [5, 3]
        assert predict(first.url, 1) == {200}
        assert total(first.url) == 6
        (worker,) = workers_of(first.process)
        psutil.Process(worker).kill()
        wait_for(
            lambda: (
                worker not in workers_of(first.process)
                and httpx.get(f"{first.url}/readyz").status_code == 200
            )
        )
        assert predict(first.url, 1) == {200}
        assert [total(first.url), total(first.url, DEATHS)] == [7, 1], "what a dead worker counted stays"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from prometheus_client import values

    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(WORKER_DEATHS, "0")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    return tmp_path


def test_files_are_written_in_full_before_they_are_used(folder: Path) -> None:
    assert share_metrics() == folder
    found = {path.name: path.stat() for path in folder.iterdir()}
    assert {name: stat.st_size for name, stat in found.items()} == {
        f"{name}_{os.getpid()}.db": size for name, size in FILE_BYTES.items()
    }
    assert all(512 * stat.st_blocks >= stat.st_size for stat in found.values()), "a file with holes"


def test_a_folder_that_is_gone_leaves_each_worker_to_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(folder / "gone"))
    assert share_metrics() is None


WORKER = """
import os, signal, sys
from serving.server.observing.metrics import Metrics
metrics = Metrics(lambda: 7)
metrics.count_request("predict", 200, 0.01)
"""
DIES = "os.kill(os.getpid(), signal.SIGKILL)"


def worker(folder: Path, then: str) -> str:
    """What a worker prints that counts one request and then does something."""
    environment = os.environ | {FOLDER: str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER + then],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


TELLS = "print(metrics.render().decode())"


def test_workers_that_die_again_and_again_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Nobody looks at the metrics meanwhile."""
    for _ in range(3):
        worker(tmp_path, DIES)
    text = worker(tmp_path, TELLS)
    assert [read(text, DEATHS), read(text, REQUESTS), read(text, "graft_request_seconds_count")] == [3, 4, 4]
    assert read(text, "graft_queue_length") == 7, "its own alone"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.1 * sum(FILE_BYTES.values())
    assert {path.stem for path in tmp_path.glob("*_dead.db")} == {"counter_dead", "histogram_dead"}


def test_a_dead_worker_stays_dead_when_another_process_gets_its_id(tmp_path: Path) -> None:
    worker(tmp_path, DIES)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"{path.stem.rpartition('_')[0]}_{os.getpid()}.db"))
    text = worker(tmp_path, TELLS)
    assert [read(text, DEATHS), read(text, REQUESTS), read(text, "graft_queue_length")] == [1, 2, 7]


def test_what_a_worker_counted_stays_when_the_next_has_its_id(folder: Path) -> None:
    worker(folder, DIES)
    for path in folder.iterdir():
        path.rename(path.with_name(f"{path.stem.rpartition('_')[0]}_{os.getpid()}.db"))
    metrics = Metrics(lambda: 0)
    metrics.count_request("predict", 200, 0.01)
    text = metrics.render().decode()
    assert [read(text, DEATHS), read(text, REQUESTS), read(text, "graft_queue_length")] == [1, 2, 0]


def test_what_a_worker_left_that_died_as_it_started_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "counter_4000001.new").write_bytes(bytes(10))
    (tmp_path / "counter_4000002.db").write_bytes(bytes(KIB))
    text = worker(tmp_path, TELLS)
    assert [read(text, DEATHS), read(text, REQUESTS)] == [1, 1]
    assert not list(tmp_path.glob("*4000*"))


def test_deaths_that_are_told_count_also_those_who_left_nothing(folder: Path) -> None:
    """Such as one that was killed for its memory while it loaded the model."""
    worker(folder, DIES)
    tell_deaths(3)
    assert read(worker(folder, TELLS), DEATHS) == 3
    shutil.rmtree(folder)
    tell_deaths(4)  # nobody is hurt where the folder is gone


def test_deaths_are_counted_by_what_was_left_where_they_cannot_be_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    worker(folder, DIES)
    tell_deaths(0)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", fill_disk)
        tell_deaths(1)
    assert read(worker(folder, TELLS), DEATHS) == 1


def test_long_labels_never_make_a_file_grow(folder: Path) -> None:
    """What is added to a file that is mapped has no room of its own."""
    metrics, model = Metrics(lambda: 0), ModelInfo(name="n", version="1", artifact="a")
    for index in range(4000):
        answer = Prediction(label=f"{index} {'ö' * 50}", probability=0.5, probabilities={}, model=model)
        metrics.count_predictions([answer], Timings(0.001, 0.002, 0.01))
    for index in range(2 * MOST_SERIES):
        metrics.count_refusal(f"a_code_of_a_usual_length_{index}")
        metrics.count_request(f"a_route_{index % 20}", index, 0.01)
    assert (folder / f"counter_{os.getpid()}.db").stat().st_size == FILE_BYTES["counter"]
    text = metrics.render().decode()
    assert read(text, "graft_predictions_total") == 4000
    assert 500 < read(text, "graft_predictions_total", label="other") < 3500


OWNER = (
    "import os, signal, sys; from serving.server.process.workers import open_shared_folder; "
    "open_shared_folder(); "
)


def test_folders_of_killed_services_go_when_the_next_one_starts(tmp_path: Path) -> None:
    def own(then: str) -> subprocess.Popen[str]:
        command, environment = [sys.executable, "-c", OWNER + then], os.environ | {"TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def folders() -> set[Path]:
        return set(tmp_path.glob("graft-metrics-*"))

    killed = own(DIES)
    killed.communicate()
    (left,) = folders()
    (tmp_path / "graft-metrics-just-made").mkdir()
    living = own("print(flush=True); input()")
    assert living.stdout is not None
    assert living.stdout.readline() == "\n"
    assert left not in folders()
    before = folders()
    assert len(before) == 2, "one that has just been made, and the living one's"
    own("").communicate()
    assert folders() == before
    living.communicate("end\n")
    assert [path.name for path in folders()] == ["graft-metrics-just-made"]
    assert [killed.returncode, living.returncode] == [-signal.SIGKILL, 0]


def test_a_folder_stays_while_a_worker_of_a_killed_service_lives(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what has been asked, and may be asked for the metrics."""
    shared = folder / "graft-metrics-x"
    shared.mkdir()
    (shared / "owner").touch()
    monkeypatch.setenv(FOLDER, str(shared))
    assert share_metrics() == shared
    command, environment = [sys.executable, "-c", OWNER], os.environ | {"TMPDIR": str(folder)}
    subprocess.run(command, env=environment, check=True, timeout=60)
    assert (shared / f"counter_{os.getpid()}.db").exists()
