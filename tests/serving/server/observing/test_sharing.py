"""What workers share of their metrics, where there is little room or none, and beside another service."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server.observing.sharing import FILE_BYTES, FOLDER, share_metrics
from tests.conftest import free_port
from tests.serving.processes import UNSHARE, WITH_TMPFS, Service, may_mount, predict, serve_command, started, wait_for, workers_of

KIB = 1024
REQUESTS, DEATHS = "graft_requests_total", "graft_worker_deaths_total"


def total(url: str, name: str = REQUESTS, **labels: str) -> float:
    """The sum of a metric's samples that have these labels, by default of the answered predictions."""
    labels = labels or ({"route": "predict"} if name == REQUESTS else {})
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


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
        wait_for(lambda: len([line for line in service.lines() if "is ready" in line["message"] or "serving" in line["message"]]) >= 2)
        yield service


def warnings(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "warning"]


@pytest.mark.slow
def test_workers_that_find_no_room_count_for_themselves_and_live(tiny_run: Path, tmp_path: Path) -> None:
    with on_small_disk(tiny_run / "bundle", tmp_path, "600k") as service:
        workers = set(workers_of(service.process))
        assert len(workers) == 2
        assert predict(service.url, 200) == {200}
        assert 0 < total(service.url) < 200, "each worker tells its own"
        assert set(workers_of(service.process)) == workers
        assert len(warnings(service)) == 2
        assert all("counts for itself alone" in warning for warning in warnings(service))


@pytest.mark.slow
def test_workers_go_on_counting_when_the_disk_becomes_full(tiny_run: Path, tmp_path: Path) -> None:
    with on_small_disk(tiny_run / "bundle", tmp_path, "4m") as service:
        workers = set(workers_of(service.process))
        fill(Path(f"/proc/{service.process.pid}/root") / tmp_path.relative_to("/") / "small" / "filler")
        assert predict(service.url, 100) == {200}
        for path in ("v2", "docs", "docs.json", "", "healthz", "nothing"):  # each a new series
            httpx.get(f"{service.url}/{path}")
        assert total(service.url) == 100
        assert set(workers_of(service.process)) == workers
        assert total(service.url, DEATHS) == 0
        assert warnings(service) == []


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        while True:
            file.write(bytes(4 * KIB))


@contextmanager
def bento(tag: str, folder: Path) -> Iterator[Service]:
    folder.mkdir()
    port = free_port()
    with started([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], folder / "log", TMPDIR=str(folder)) as process:
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
        wait_for(lambda: worker not in workers_of(first.process) and httpx.get(f"{first.url}/readyz").status_code == 200)
        assert predict(first.url, 1) == {200}
        assert [total(first.url), total(first.url, DEATHS)] == [7, 1], "what a dead worker counted stays"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from prometheus_client import values

    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    return tmp_path


def test_files_are_written_in_full_before_they_are_used(folder: Path) -> None:
    assert share_metrics() == folder
    found = {path.name: path.stat() for path in folder.iterdir()}
    assert {name: stat.st_size for name, stat in found.items()} == {f"{name}_{os.getpid()}.db": size for name, size in FILE_BYTES.items()}
    assert all(512 * stat.st_blocks >= stat.st_size for stat in found.values()), "a file with holes"


def test_the_counts_of_a_dead_worker_with_the_same_id_stay(folder: Path) -> None:
    """They were cut to what was in use."""
    (folder / f"counter_{os.getpid()}.db").write_bytes(b"\x40\0\0\0counted".ljust(64, b"x"))
    assert share_metrics() == folder
    content = (folder / f"counter_{os.getpid()}.db").read_bytes()
    assert content.startswith(b"\x40\0\0\0counted")
    assert len(content) == FILE_BYTES["counter"]


def test_a_folder_that_is_gone_leaves_each_worker_to_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(folder / "gone"))
    assert share_metrics() is None
