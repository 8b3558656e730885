"""Measure texts: single requests beside batches, and one request beside tokenising and the session alone.

    python benchmarks/serving/texts.py RUN [--rounds 5] [--seconds 4] [--batch 64] [--artifact onnx-fp32]

RUN is a run on texts, whose test split is asked. Every round takes its turns in an order of its own: single
texts of one client and of eight, batches of one client, and the same texts in this process, without HTTP. The
ratios are those within a round. CPU ms is what a text costs the service, which a busy machine hardly changes.
The load generator and this process share the cores with the service.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from rounds import spread
from servers import HERE, Caller, Server, ours

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from serving.model.predictor import Predictor, load_predictor

PORT = 23951


def make_request(path: str, document: dict[str, Any]) -> bytes:
    """Return a POST request with a JSON body."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def write_requests(folder: Path, requests: list[bytes]) -> Path:
    """Write requests where the load generator finds them."""
    folder.mkdir()
    for number, request in enumerate(requests):
        (folder / f"{number:04}.http").write_bytes(request)
    return folder


def drive(server: Server, folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Load the service; return what the generator measured, and the CPU time of a request in milliseconds."""
    command = [sys.executable, HERE / "load.py", str(PORT), str(folder)]
    options = ["--clients", str(clients), "--seconds", str(seconds), "--warmup", "0"]
    before = server.cpu_s()
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if set(found["statuses"]) != {"200"}:
        raise SystemExit(f"statuses {found['statuses']}")
    return found | {"cpu_ms": 1000 * (server.cpu_s() - before) / sum(found["statuses"].values())}


def ask_batches(server: Server, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """Ask for one batch after another, and return what :func:`drive` does.

    A batch takes a large part of the time that there is, so the last one counts too.
    """
    before, start, done = server.cpu_s(), time.perf_counter(), 0
    with contextlib.closing(Caller(PORT)) as caller:
        while time.perf_counter() - start < seconds:
            status, _ = caller.ask(requests[done % len(requests)])
            if status != 200:
                raise SystemExit(f"status {status}")
            done += 1
    elapsed = time.perf_counter() - start
    return {"per_s": done / elapsed, "cpu_ms": 1000 * (server.cpu_s() - before) / done}


def time_in_process(predictor: Predictor, texts: list[bytes], seconds: float) -> float:
    """Return the median of tokenising a text and running the model on it, in milliseconds."""
    took, end, index = [], time.perf_counter() + seconds, 0
    while (start := time.perf_counter()) < end:
        predictor.score([predictor.decode(texts[index % len(texts)]).array])
        took.append(time.perf_counter() - start)
        index += 1
    return 1000 * statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--artifact", default="onnx-fp32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    samples = [sample for sample in read_samples(RunFolder(options.run)) if sample.split == "test"]
    texts = [sample.read().decode() for sample in samples]
    groups = [texts[start : start + options.batch] for start in range(0, len(texts), options.batch)]
    with tempfile.TemporaryDirectory() as folder:
        rounds = measure_rounds(options, texts, groups, Path(folder))
    report(rounds, len(texts) / len(groups))


def measure_rounds(
    options: argparse.Namespace, texts: list[str], groups: list[list[str]], folder: Path
) -> list[dict[str, Any]]:
    """Start the service, and take every turn once a round."""
    predictor = load_predictor(options.run / "bundle", artifact=options.artifact)
    singles = [make_request("/predict", {"text": text}) for text in texts]
    one = write_requests(folder / "one", singles)
    many = [make_request("/predict_batch", {"texts": group}) for group in groups]
    server = ours(options.run, PORT, options.artifact)
    turns: dict[str, Callable[[], Any]] = {
        "one client": lambda: drive(server, one, 1, options.seconds),
        "eight clients": lambda: drive(server, one, 8, options.seconds),
        "batches": lambda: ask_batches(server, many, options.seconds),
        "in process": lambda: time_in_process(predictor, [text.encode() for text in texts], 2),
    }
    server.start(singles[0])
    try:
        return [
            {name: turns[name]() for name in random.sample(list(turns), len(turns))}
            for _ in range(options.rounds)
        ]
    finally:
        server.stop()


def report(rounds: list[dict[str, Any]], mean_batch: float) -> None:
    """Print the rates, their ratios within a round, and what a request adds to the model."""
    rates = {
        name: [each[name]["per_s"] * (mean_batch if name == "batches" else 1) for each in rounds]
        for name in ("one client", "eight clients", "batches")
    }
    for name, values in rates.items():
        print(f"{name:<40} texts/s {spread(values, 1)}")
        size = mean_batch if name == "batches" else 1
        print(f"{'':<40} CPU ms  {spread([each[name]['cpu_ms'] / size for each in rounds])}")
    for name in ("one client", "eight clients"):
        ratios = [batch / single for batch, single in zip(rates["batches"], rates[name], strict=True)]
        print(f"batches, times the texts of {name:<20} {spread(ratios)}")
    alone = [each["in process"] for each in rounds]
    print(f"{'tokenising and session in process':<40} ms      {spread(alone)}")
    added = [each["one client"]["p50_ms"] - each["in process"] for each in rounds]
    print(f"{'what the p50 of one client is above that':<40} ms      {spread(added)}")


if __name__ == "__main__":
    main()
