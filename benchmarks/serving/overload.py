"""Put our service under four times the load that it can carry.

The result is what it accepts, what it refuses, and how soon it is as fast as before.

    python benchmarks/serving/overload.py RUN [--artifact NAME] [--times 4] [--seconds 10] [--json FILE]

First a closed loop of 32 clients finds the capacity and the latency at full load. Then arrivals come at a
fixed rate, whether they are answered or not. Refusals must be 503; any other status fails. After the last
arrival one client asks again and again: the service has recovered at the first of its answers from which on
the median is within 20 % of what it was before. Last comes the closed loop again: if its figures are not
those from before, the machine was not quiet, and the ratios mean little.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bodies import common_request, read_inputs, write_requests
from by_hand import read_manifest
from servers import HERE, Caller, Server, drive, load_arguments, ours

CLIENTS_AT_FULL_LOAD = 32
NEAR = 1.2  # ratio to the median before up to which the service counts as recovered
MEDIAN_OF = 20  # number of answers
WATCH_S = 20


def ask_alone(port: int, requests: list[bytes], seconds: float) -> list[tuple[float, float]]:
    """Ask as one client, one request after the other.

    Returns:
        For each request the time at which it was sent (time.monotonic), and the seconds until its answer,
        which are infinite for any answer but 200.
    """
    answers = []
    end = time.monotonic() + seconds
    with contextlib.closing(Caller(port)) as caller:
        while (sent := time.monotonic()) < end:
            try:
                status, _ = caller.ask(requests[len(answers) % len(requests)])
            except (OSError, http.client.HTTPException):
                status = 0
            answers.append((sent, time.monotonic() - sent if status == 200 else float("inf")))
    return answers


def median_s(answers: list[tuple[float, float]]) -> float:
    """Return the median of the seconds that answers took."""
    return statistics.median(seconds for _, seconds in answers)


def recovered_after(ended: float, answers: list[tuple[float, float]], before_s: float) -> float | None:
    """Return the seconds from the end of the overload until answers are as fast as before and stay so.

    Args:
        ended: The time of the end (time.monotonic).
        answers: What :func:`ask_alone` gave from then on.
        before_s: The median of the seconds that an answer took before.

    Returns:
        The seconds, or None if that did not happen.
    """
    for index in range(len(answers) - MEDIAN_OF + 1):
        sent, seconds = answers[index]
        if max(seconds, median_s(answers[index : index + MEDIAN_OF])) <= NEAR * before_s:
            return sent - ended
    return None


def overload(
    server: Server, folder: Path, requests: list[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure the service at full load, under the overload, and after it."""
    full = drive(server.port, folder, clients=CLIENTS_AT_FULL_LOAD, seconds=options.seconds)
    before_s = median_s(ask_alone(server.port, requests, min(options.seconds, 5)))
    arguments = load_arguments(
        server.port, folder, rate=options.times * full["per_s"], seconds=options.seconds
    )
    with subprocess.Popen(
        [sys.executable, str(HERE / "load.py"), *arguments], stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout
        load.stdout.readline()  # `sent`
        ended = time.monotonic()
        after = ask_alone(server.port, requests, WATCH_S)
        over = json.loads(load.stdout.read().splitlines()[-1])
    memory = server.memory()
    again = drive(server.port, folder, clients=CLIENTS_AT_FULL_LOAD, seconds=options.seconds)
    return {
        "full": full,
        "full_again": again,
        "over": over,
        "alone_before_ms": 1000 * before_s,
        "recovered_after_s": recovered_after(ended, after, before_s),
        "memory": memory,
    }


def report(figures: dict[str, Any], times: float) -> bool:
    """Print the figures, and return whether every answer was 200 or 503."""
    full, over = figures["full"], figures["over"]
    arrivals = sum(over["statuses"].values())
    others = {status: count for status, count in over["statuses"].items() if status not in {"200", "503"}}
    for name, load in {"full load": full, "and again after all": figures["full_again"]}.items():
        print(
            f"{name:<26} {load['per_s']:.1f} requests/s, p99 {load['p99_ms']:.1f} ms, "
            f"statuses {load['statuses']}"
        )
    print(
        f"{times:g} times that              {over['offered_per_s']:.1f} arrivals/s "
        f"(asked for: {times * full['per_s']:.1f})"
    )
    print(f"generator behind           {over['late_p99_ms']:.1f} ms at most, for 99 % of the arrivals")
    for status, word in {"200": "accepted", "503": "refused, 503"}.items():
        count = over["statuses"].get(status, 0)
        print(f"{word:<26} {count} of {arrivals}, {100 * count / arrivals:.1f} %")
    print(f"other statuses             {others or 'none'}{'  (0: no answer)' if '0' in others else ''}")
    print(
        f"p99 of the accepted        {over['p99_ms']:.1f} ms, "
        f"{over['p99_ms'] / full['p99_ms']:.2f} times that at full load"
    )
    print(
        f"accepted a second          {over['per_s']:.1f}, "
        f"{over['per_s'] / full['per_s']:.2f} times that at full load"
    )
    after = figures["recovered_after_s"]
    took = f"after {after:.2f} s" if after is not None else f"not within {WATCH_S} s"
    print(
        f"one client as before       {took} (goal: less than 1 s), "
        f"p50 before {figures['alone_before_ms']:.1f} ms"
    )
    print(f"memory then                {figures['memory']['rss_mb']:.0f} MB resident")
    return not others


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--artifact", help="what is served; by default the bundle's default")
    parser.add_argument("--times", type=float, default=4, help="the measured capacity")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--inputs", type=int, default=200, help="of the test split")
    parser.add_argument("--port", type=int, default=24110)
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    modality = read_manifest(options.run / "bundle")["input"]["modality"]
    requests = [common_request(modality, item) for item in read_inputs(options.run, options.inputs)]
    server = ours(options.run, options.port, options.artifact)
    with tempfile.TemporaryDirectory() as folder:
        try:
            server.start(requests[0])
            figures = overload(server, write_requests(Path(folder) / "requests", requests), requests, options)
        finally:
            server.stop()
    clean = report(figures, options.times)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
