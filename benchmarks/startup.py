"""Measure the seconds that a user waits.

They are timed for `graft --help`, for a run of which every stage is done, and for the service's first answer.

python benchmarks/startup.py [RUN] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, read_samples

GRAFT = [sys.executable, "-m", "pipeline.cli"]
PORT = 23907


def seconds(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def first_answer(run: Path, sample: Sample) -> float:
    """Return the seconds from the start of `graft serve` to its first prediction."""
    start = time.perf_counter()
    command = [*GRAFT, "serve", str(run), "--port", str(PORT)]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    headers = {} if sample.text is None else {"Content-Type": "text/plain"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/predict", data=sample.read(), headers=headers, method="POST"
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30):
                    return time.perf_counter() - start
            except urllib.error.HTTPError:
                raise  # the service is up, and refuses the sample
            except (urllib.error.URLError, ConnectionError):
                if service.poll() is not None:
                    raise
                time.sleep(0.01)
    finally:
        service.terminate()
        service.wait()


def report(name: str, measure: Callable[[], float], rounds: int) -> None:
    """Print the median and the range of several measurements, after one warm-up."""
    measure()
    values = [measure() for _ in range(rounds)]
    print(f"{name:<34} {statistics.median(values):6.2f} s   [{min(values):.2f}, {max(values):.2f}]")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path("models/solar-cells"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not (options.run / "bundle").is_dir():
        sys.exit(f"{options.run}: no run there. Carry one out first, with `make demo` or `graft run`.")
    sample = next(sample for sample in read_samples(RunFolder(options.run)) if sample.split == "test")
    report("graft --help", lambda: seconds([*GRAFT, "--help"]), options.rounds)
    report(
        "graft run, every stage skipped", lambda: seconds([*GRAFT, "run", str(options.run)]), options.rounds
    )
    report("graft serve, to the first answer", lambda: first_answer(options.run, sample), options.rounds)


if __name__ == "__main__":
    main()
