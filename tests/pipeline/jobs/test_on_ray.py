"""A job on a real Ray cluster of two workers on this machine."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.jobs.job import predict_table
from pipeline.jobs.work import Asked
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
ROWS = 6000


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers, which import the same pipeline as this process."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([n, "" if n % 1000 == 5 else f"good film number {n}"] for n in range(ROWS))
    return path


@pytest.fixture(scope="module")
def expected(text_run: Path, texts: Path) -> bytes:
    output = texts.with_name("local.jsonl")
    result = predict_table(Asked(text_run / "bundle", texts, output))
    assert (result.rows, result.errors) == (ROWS, 6)
    return output.read_bytes()


def test_workers_of_ray_answer_what_one_process_answers(
    cluster: None, text_run: Path, texts: Path, expected: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "ray.jsonl"
    result = predict_table(Asked(text_run / "bundle", texts, output, engine="ray"))
    assert (result.rows, result.errors) == (ROWS, 6)
    assert output.read_bytes() == expected


def test_lost_worker_loses_no_row(
    cluster: None, text_run: Path, texts: Path, expected: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "ray.jsonl"
    killed: list[int] = []

    def kill_one() -> None:
        unfinished = tmp_path / "ray.jsonl.unfinished"
        end = time.monotonic() + 60
        while time.monotonic() < end and not list(unfinished.glob("fragment-*[0-9]")):
            time.sleep(0.002)
        # Of this test's cluster alone; processes that end meanwhile have no command line.
        of_cluster = {each.pid for each in psutil.Process().children(recursive=True)}
        workers = [
            each
            for each in psutil.process_iter(["cmdline", "name"])
            if each.pid in of_cluster and "Answerer" in " ".join(each.info["cmdline"] or [each.info["name"]])
        ]
        for worker in workers[:1]:
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    thread = threading.Thread(target=kill_one)
    thread.start()
    predict_table(Asked(text_run / "bundle", texts, output, engine="ray"))
    thread.join()
    assert killed
    assert output.read_bytes() == expected
