"""How a big job does: every row once through kills, flat memory, and its rate beside the engine's in memory.

    python benchmarks/jobs.py RUN_ON_TEXTS RUN_ON_PICTURES [--texts N] [--pictures N] [--kills N] [--ray]

Texts are sentences of random words, pictures are those of the run's data, repeated. The job is killed by
SIGKILL between two fragments; what it wrote is then compared with the rows that it was given. Rates are of
interleaved rounds on the same rows: the predictor called in as many threads with all inputs in memory, and
the job with reading and writing. Memory is that of the process, as the kernel counts it, at several shares of
the rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.files.layout import RunFolder, find_bundle
from pipeline.files.samples import read_samples
from pipeline.jobs.job import CELLS, FILES
from pipeline.run.jobs import predict_job
from serving.model.predictor import load_predictor

ROUNDS = 3
WORDS = [
    "the",
    "film",
    "was",
    "good",
    "bad",
    "dull",
    "fine",
    "plot",
    "actor",
    "ending",
    "rain",
    "sun",
    "never",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts_run", type=Path)
    parser.add_argument("pictures_run", type=Path)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--pictures", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="compare with Ray, too")
    options = parser.parse_args()
    if options.ray:
        start_cluster()
    with tempfile.TemporaryDirectory(prefix="graft-jobs-") as folder:
        texts = write_texts(Path(folder, "texts.csv"), options.texts)
        pictures = link_pictures(Path(folder, "pictures"), options.pictures_run, options.pictures)
        for run, source, rows in (
            (options.texts_run, texts, options.texts),
            (options.pictures_run, pictures, options.pictures),
        ):
            print(f"\n{source.name}: {rows:,} rows, load {os.getloadavg()[0]:.1f}", flush=True)
            kill_and_compare(run, source, rows, options.kills)
            compare_rates(run, source, rows, with_ray=options.ray)


def start_cluster() -> None:
    """Start a cluster before anything is timed, as one that people have runs already."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")


def write_texts(path: Path, count: int) -> Path:
    chance = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((n, " ".join(chance.choices(WORDS, k=3 + n % 20))) for n in range(count))
    return path


def link_pictures(folder: Path, run: Path, count: int) -> Path:
    """Write the pictures of a run's data as files, repeated under other names."""
    folder.mkdir()
    samples = read_samples(RunFolder(run))[:200]
    for index, sample in enumerate(samples):
        (folder / f"{index:06d}.png").write_bytes(sample.read())
    for index in range(len(samples), count):
        os.link(folder / f"{index % len(samples):06d}.png", folder / f"{index:06d}.png")
    return folder


def kill_and_compare(run: Path, source: Path, rows: int, kills: int) -> None:
    """Run the job as a user does, kill it now and then, and look at what it has written."""
    output = source.with_name("killed.jsonl")
    unfinished = output.with_name(f"{output.name}.unfinished")
    command = [sys.executable, "-m", "pipeline.cli", "-q", "predict", str(run)]
    command += ["--input", str(source), "--output", str(output)]
    fragments = -(-rows // (FILES if source.is_dir() else CELLS))
    stops = [fragments * (number + 1) // (kills + 1) for number in range(kills)]
    start, memory = time.perf_counter(), []
    for stop in [*stops, None]:
        process = subprocess.Popen(command)
        while process.poll() is None:
            done = sum(1 for _ in unfinished.glob("fragment-*[0-9]")) if unfinished.exists() else 0
            resident = resident_mb(process.pid)
            if resident and done:
                memory.append((done / fragments, resident))
            if stop is not None and done >= stop:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.2)
    seconds = time.perf_counter() - start
    with output.open() as file:
        keys = [json.loads(line)["file" if source.is_dir() else "id"] for line in file]
    assert len(keys) == rows == len(set(keys)), f"{len(keys)} rows, {len(set(keys))} of them different"
    assert keys == sorted(keys, key=int) if not source.is_dir() else keys == sorted(keys)
    shares = {share: [mb for at, mb in memory if abs(at - share) < 0.05] for share in (0.1, 0.5, 0.95)}
    told = ", ".join(f"{max(found):,.0f} MB at {share:.0%}" for share, found in shares.items() if found)
    print(
        f"  killed {kills} times: every row once, in order; {seconds:,.0f} s in all; resident {told}",
        flush=True,
    )
    output.unlink()


def resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


def compare_rates(run: Path, source: Path, rows: int, *, with_ray: bool) -> None:
    """Compare the job's rate with that of the predictor alone, on a share of the rows that takes seconds."""
    some = min(rows, 2_000 if source.is_dir() else 150_000)
    inputs, part = take(source, some)
    rates: dict[str, list[float]] = {"engine": [], "job": [], **({"ray": []} if with_ray else {})}
    for _ in range(ROUNDS):
        rates["engine"].append(some / time_engine(run, inputs))
        for name in rates.keys() - {"engine"}:
            output = source.with_name(f"{name}.jsonl")
            result = predict_job(run, part, output, None, None, "ray" if name == "ray" else "local")
            rates[name].append(some / result.seconds)
            output.unlink()
    for name, found in rates.items():
        ratios = sorted(mine / engine for mine, engine in zip(found, rates["engine"], strict=True))
        spread = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}] of the engine's"
        print(f"  {name}: {statistics.median(found):,.0f} rows/s, {spread}", flush=True)


def take(source: Path, count: int) -> tuple[list[bytes], Path]:
    if source.is_dir():
        part = source.with_name("some")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        paths = sorted(source.iterdir())[:count]
        for path in paths:
            os.link(path, part / path.name)
        return [path.read_bytes() for path in paths], part
    with source.open(newline="") as file:
        texts = [row["text"] for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    part = source.with_name("some.csv")
    with part.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    return [text.encode() for text in texts], part


def time_engine(run: Path, inputs: Sequence[bytes]) -> float:
    predictor = load_predictor(find_bundle(run), threads=1)
    groups = [inputs[start : start + 64] for start in range(0, len(inputs), 64)]
    start = time.perf_counter()
    with ThreadPoolExecutor(predictor.callers) as pool:
        answers = list(pool.map(predictor.predict_many, groups))
    assert sum(map(len, answers)) == len(inputs)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
