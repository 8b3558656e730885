"""Put our service under a steady load of eight clients for a long time; one request in twenty is hostile.

    python benchmarks/serving/soak.py RUN [--artifact NAME] [--minutes 10] [--json FILE]

It prints a line a minute, and at the end how memory and p99 went. It fails when the last third of the minutes
has more than 10 % more memory or a p99 more than 50 % higher than the first third, or when a request found no
answer or a 5xx. `--json` is rewritten every minute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bodies import common_request, hostile_requests, read_inputs, write_requests
from by_hand import read_manifest
from servers import drive, ours

CLIENTS = 8
ONE_IN = 20  # one of so many requests is hostile
MOST_MEMORY = 1.10  # ratio of the last third of the minutes to the first
MOST_P99 = 1.50


def mix(modality: str, inputs: list[bytes]) -> list[bytes]:
    """Return good requests, with a hostile one in every twentieth place, of each kind in turn."""
    hostile = hostile_requests(modality, inputs[0])
    mixed = []
    for index, item in enumerate(inputs):
        mixed.append(common_request(modality, item))
        if index % (ONE_IN - 1) == ONE_IN - 2:
            mixed.append(hostile[(index // (ONE_IN - 1)) % len(hostile)])
    return mixed


def growth(values: list[float]) -> float:
    """Return the ratio of the mean of the last third to that of the first."""
    third = max(1, len(values) // 3)
    return statistics.mean(values[-third:]) / statistics.mean(values[:third])


def conclude(minutes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the slope, the growths, and whether they are within their limits."""
    memory = [minute["rss_mb"] for minute in minutes]
    p99 = [minute["p99_ms"] for minute in minutes]
    slope = statistics.linear_regression(range(len(memory)), memory).slope if len(memory) > 1 else 0.0
    failed = sum(
        count
        for minute in minutes
        for status, count in minute["statuses"].items()
        if status == "0" or status >= "500"
    )
    measured = {
        "memory_mb_per_minute": slope,
        "memory_growth": growth(memory),
        "p99_growth": growth(p99),
        "failed": failed,
    }
    return measured | {
        "passed": measured["memory_growth"] <= MOST_MEMORY
        and measured["p99_growth"] <= MOST_P99
        and not failed
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--artifact", help="what is served; by default the bundle's default")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--minute", type=float, default=60, help="its seconds")
    parser.add_argument("--inputs", type=int, default=200, help="of the test split")
    parser.add_argument("--port", type=int, default=24120)
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    modality = read_manifest(options.run / "bundle")["input"]["modality"]
    requests = mix(modality, read_inputs(options.run, options.inputs))
    server = ours(options.run, options.port, options.artifact)
    minutes: list[dict[str, Any]] = []
    print(f"{'minute':>6} {'resident, MB':>13} {'requests/s':>11} {'p50, ms':>8} {'p99, ms':>8}  statuses")
    with tempfile.TemporaryDirectory() as folder:
        try:
            server.start(requests[0])
            queue = write_requests(Path(folder) / "requests", requests)
            drive(server.port, queue, clients=CLIENTS, seconds=1, warmup=0)
            for minute in range(1, options.minutes + 1):
                measured = (
                    drive(server.port, queue, clients=CLIENTS, seconds=options.minute, warmup=0)
                    | server.memory()
                )
                minutes.append(measured)
                figures = (
                    f"{measured['rss_mb']:13.1f} {measured['per_s']:11.1f} "
                    f"{measured['p50_ms']:8.1f} {measured['p99_ms']:8.1f}"
                )
                print(f"{minute:6} {figures}  {measured['statuses']}", flush=True)
                if options.json:
                    options.json.write_text(json.dumps({"minutes": minutes} | conclude(minutes), indent=1))
        finally:
            server.stop()
    end = conclude(minutes)
    print(f"memory {end['memory_mb_per_minute']:+.2f} MB a minute")
    print(
        f"last third / first third: memory {end['memory_growth']:.2f} (most {MOST_MEMORY}), "
        f"p99 {end['p99_growth']:.2f} (most {MOST_P99})"
    )
    print(f"{end['failed']} requests without an answer or with a 5xx")
    sys.exit(0 if end["passed"] else 1)


if __name__ == "__main__":
    main()
