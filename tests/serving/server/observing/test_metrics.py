"""What a service counts, as Prometheus reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction
from serving.model.timings import Timings
from serving.server.observing.metrics import MOST_SERIES, Metrics
from tests.conftest import ROOT, make_picture
from tests.serving.processes import Service, logged_service

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
METHODS = ("GET", "PUT", "DELETE", "PATCH", "PROPFIND", "OPTIONS", "TRACE", "SEARCH", "NONSENSE")


def parse(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def scrape(url: str) -> Samples:
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return parse(answer.text)


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


@pytest.fixture(scope="module")
def service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with logged_service(tiny_run / "bundle", tmp_path_factory.mktemp("metrics") / "log") as service:
        yield service


@pytest.mark.slow
def test_counters_of_labels_move_as_the_predictions_do(service: Service) -> None:
    before, pictures = (
        scrape(service.url),
        [make_picture(label, 950 + index) for label in ("bars", "plain") for index in range(8)],
    )
    with httpx.Client(base_url=service.url) as client:
        answers = [client.post("/predict", content=picture).json() for picture in pictures]
        form = [("images", ("x", picture)) for picture in (*pictures[:3], b"broken")]
        answers += client.post("/predict_batch", files=form).json()["predictions"][:3]
    after = scrape(service.url)

    def moved(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    mix = Counter(answer["label"] for answer in answers)
    assert set(mix) == {"bars", "plain"}
    assert {label: moved("graft_predictions_total", label=label) for label in mix} == mix
    assert moved("graft_confidence_sum") == pytest.approx(sum(answer["probability"] for answer in answers))
    assert moved("graft_confidence_count") == 19
    assert moved("graft_refusals_total", code="not_an_image") == 1
    assert (
        moved("graft_requests_total", route="predict", status="200")
        == moved("graft_request_seconds_count", route="predict")
        == 16
    )
    assert moved("graft_request_items_sum") == 20
    for name in ("queue_seconds", "decode_seconds", "session_seconds", "batch_size"):
        assert moved(f"graft_{name}_count") == 17
    parts = sum(moved(f"graft_{name}_seconds_sum") for name in ("queue", "decode", "session"))
    assert (
        0
        < parts
        < sum(moved("graft_request_seconds_sum", route=route) for route in ("predict", "predict_batch"))
    )


@pytest.mark.slow
def test_model_swaps_and_process_are_told(service: Service) -> None:
    samples = scrape(service.url)
    model = httpx.post(f"{service.url}/predict", content=make_picture("bars", 951)).json()["model"]
    assert value(samples, "graft_model_info", **model) == 1
    assert [value(samples, "graft_swaps_total", result=result) for result in ("taken", "refused")] == [0, 0]
    assert value(samples, "graft_queue_length") == 0
    assert value(samples, "process_resident_memory_bytes") > 1e7
    assert ("graft_request_seconds_bucket", (("le", "0.001"), ("route", "metrics"))) in samples


@pytest.mark.slow
def test_no_series_are_added_when_paths_and_methods_are_scanned(service: Service) -> None:
    def scan(index: int) -> int:
        method = METHODS[index % len(METHODS)]
        path = ("/predict", "/metrics", f"/{index:x}", f"/predict/{index}", f"/%00{index}?code={index}")[
            index // 100
        ]
        headers = {
            "x-request-id": f"r{index}",
            "content-type": f"x/{index}",
            "host": f"h{index}",
            "authorization": f"k{index}",
        }
        return client.request(method, path, headers=headers).status_code

    with httpx.Client(base_url=service.url) as client, ThreadPoolExecutor(4) as pool:
        for index in range(0, 500, 10):  # every kind once
            scan(index)
        before = scrape(service.url)
        statuses = set(pool.map(scan, range(500)))
    assert {400, 404, 405} <= statuses
    assert scrape(service.url).keys() == before.keys()


@pytest.mark.slow
def test_docs_list_every_metric_and_no_other(service: Service) -> None:
    section = (
        (ROOT / "docs" / "observing.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", section, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    text = httpx.get(f"{service.url}/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert {name: kind for name, (kind, _) in documented.items()} == kinds
    for name, labels in parse(text):
        family = next(known for known in (name, re.sub(r"_(bucket|sum|count)$", "", name)) if known in kinds)
        assert {label for label, _ in labels} - {"le"} == documented[family][1], name


@pytest.mark.slow
def test_workers_are_summed_and_what_a_killed_one_said_of_itself_is_gone(
    tiny_run: Path, tmp_path: Path
) -> None:
    with logged_service(
        tiny_run / "bundle", tmp_path / "log", "--workers", "2", TMPDIR=str(tmp_path)
    ) as service:
        workers = wait_for_workers(service, tmp_path, 2)
        ask(service.url, 40)
        assert value(scrape(service.url), "graft_requests_total", route="predict", status="200") == 40
        killed = min(workers)
        psutil.Process(killed).kill()
        wait_for_workers(service, tmp_path, 2, without=killed)
        ask(service.url, 10)
        samples = scrape(service.url)
    assert value(samples, "graft_requests_total", route="predict", status="200") == 50
    assert sum(value(samples, "graft_predictions_total", label=label) for label in ("bars", "plain")) == 50
    assert [found for (name, _), found in samples.items() if name == "graft_model_info"] == [1]
    assert value(samples, "graft_queue_length") == 0
    assert not [name for name, _ in samples if name.startswith("process_") or name.endswith("_created")]


def ask(url: str, times: int) -> None:
    picture = make_picture("bars", 952)
    for _ in range(times // 5):  # on new connections, which another worker may take
        with httpx.Client(base_url=url) as client:
            assert {client.post("/predict", content=picture).status_code for _ in range(5)} == {200}


def wait_for_workers(service: Service, folder: Path, count: int, without: int | None = None) -> set[int]:
    """The workers that have gauges in the shared folder, once there are so many.

    A look at the metrics removes the gauges of dead ones.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        httpx.get(f"{service.url}/metrics")
        found = {
            int(path.stem.rpartition("_")[2]) for path in folder.glob("graft-metrics-*/gauge_livemax_*.db")
        }
        if len(found) == count and without not in found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{found}\n{service.log.read_text()}")


SHARED = """
import sys
from serving.server.observing.metrics import Metrics
from serving.model.schemas import ModelInfo
waiting, *versions = sys.argv[1:]
metrics = Metrics(lambda: int(waiting))
for version in versions:
    metrics.show_model(ModelInfo(name="n", version=version, artifact="a"))
metrics.count_request("predict", 200, 0.01)
print(metrics.render().decode())
"""


def test_shared_metrics_forget_the_queue_of_the_dead_and_models_that_were_replaced(tmp_path: Path) -> None:
    def worker(*arguments: str) -> Samples:
        command, environment = (
            [sys.executable, "-c", SHARED, *arguments],
            os.environ | {"GRAFT_METRICS_FOLDER": str(tmp_path)},
        )
        return parse(
            subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True, timeout=60
            ).stdout
        )

    first, second = worker("7", "1", "2"), worker("3", "3")
    assert value(first, "graft_queue_length") == 7
    assert value(second, "graft_queue_length") == 3
    assert value(second, "graft_requests_total", route="predict", status="200") == 2
    for samples, version in ((first, "2"), (second, "3")):
        shown = [dict(labels)["version"] for name, labels in samples if name == "graft_model_info"]
        assert shown == [version]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: 5)


def test_metrics_show_the_queue_of_the_moment_and_one_model(metrics: Metrics) -> None:
    for version in ("1", "2"):
        metrics.show_model(ModelInfo(name="n", version=version, artifact="a"))
    samples = parse(metrics.render().decode())
    assert value(samples, "graft_queue_length") == 5
    assert [labels for name, labels in samples if name == "graft_model_info"] == [
        (("artifact", "a"), ("name", "n"), ("version", "2"))
    ]


def test_metrics_have_a_bound_when_a_label_comes_from_a_client_after_all(metrics: Metrics) -> None:
    for index in range(3 * MOST_SERIES):
        metrics.count_refusal(f'hostile"\n{index}')
    refusals = {
        labels: count
        for (name, labels), count in parse(metrics.render().decode()).items()
        if name == "graft_refusals_total"
    }
    assert len(refusals) == MOST_SERIES + 1
    assert refusals[("code", "other"),] == 2 * MOST_SERIES


def test_metrics_count_means_over_the_items_of_a_batch(metrics: Metrics) -> None:
    model = ModelInfo(name="n", version="1", artifact="a")
    answer = Prediction(label="cat", probability=0.75, probabilities={"cat": 0.75, "dog": 0.25}, model=model)
    refusal = ErrorBody(error=ErrorDetail(code="not_an_image", message="x"))
    metrics.count_predictions(
        [answer, answer, refusal, answer], Timings(queue_s=4.0, decode_s=0.4, session_s=0.004, batch_size=2)
    )
    samples = parse(metrics.render().decode())
    sums = [value(samples, f"graft_{name}_seconds_sum") for name in ("queue", "decode", "session")]
    assert sums == pytest.approx([1.0, 0.1, 0.001])
    assert (
        value(samples, "graft_predictions_total", label="cat")
        == value(samples, "graft_confidence_count")
        == 3
    )
    assert value(samples, "graft_batch_size_sum") == 2
    assert value(samples, "graft_request_items_sum") == 4


def test_metrics_cost_little_a_request(metrics: Metrics) -> None:
    model = ModelInfo(name="n", version="1", artifact="a")
    answer, timings = (
        Prediction(label="cat", probability=0.75, probabilities={"cat": 0.75}, model=model),
        Timings(0.001, 0.002, 0.01),
    )
    took = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            metrics.count_predictions([answer], timings)
            metrics.count_request("predict", 200, 0.02)
        took.append((time.perf_counter() - start) / 100)
    assert min(took) < 50e-6
