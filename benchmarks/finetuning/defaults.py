"""The defaults on data that nobody tuned them for: Graft's untouched recipe beside two textbook peers."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from finetuning.packages import NotInstalledError
from finetuning.runs import Answered, Workplace, answer_test
from finetuning.sets import SETS

WAYS = {"graft": "Graft", "regression": "(a) regression", "full": "(b) full"}


def measure(
    place: Workplace,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    changes: Sequence[str] = (),
) -> Path:
    """Measure data sets, several at once, and write a line of JSON for each as soon as it is known.

    Args:
        place: Where to work; what its file of results holds already is not measured again.
        names: Names of the data sets.
        seeds: The seeds.
        jobs: Number of processes.
        changes: Lines such as ``finetune.epochs: 1``; none to leave the recipe untouched.

    Returns:
        The file of results.
    """
    results = place.results / "defaults.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["set"], row["seed"]) for row in _read(results)}
    wanted = [(name, seed) for seed in seeds for name in names if (name, seed) not in done]
    context = multiprocessing.get_context("spawn")
    # A process for each: one that ran out of memory must not take the next data sets, and fail them too.
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_settle, initargs=(jobs,), max_tasks_per_child=1
    ) as pool:
        futures = {pool.submit(measure_one, place, *pair, changes): pair for pair in wanted}
        for future in as_completed(futures):
            name, seed = futures[future]
            try:
                row = future.result()
            except NotInstalledError as error:
                print(f"{name}: left out. {error}", flush=True)
                continue
            except Exception:  # what breaks one data set must not hide the others
                print(f"{name}, seed {seed}: failed\n{traceback.format_exc()}", flush=True)
                continue
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{name}, seed {seed}: {_short(row)}", flush=True)
    return results


def _settle(jobs: int) -> None:
    """Give a process its share of the CPUs, so that several do not take turns on one another's threads."""
    cpus = sorted(os.sched_getaffinity(0))
    share = max(1, len(cpus) // jobs)
    if jobs > 1:
        first = (os.getpid() * share) % len(cpus)
        os.sched_setaffinity(0, {cpus[(first + index) % len(cpus)] for index in range(share)})
    os.environ["GRAFT_CACHE"] = str(Path(os.environ.get("GRAFT_CACHE", "/tmp")) / f"bench-{os.getpid()}")


def measure_one(place: Workplace, name: str, seed: int, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Measure Graft's default and its peers on one data set with one seed."""
    from finetuning.peers import Peers

    from pipeline.artifacts.history import read_history
    from pipeline.run.runner import run_stage

    run = place.start(name, seed, changes)
    run_stage("data", run)
    begin = time.perf_counter()
    run_stage("finetune", run)
    seconds = {"graft": time.perf_counter() - begin}
    history = read_history(run.folder.checkpoint)
    answers = {"graft": answer_test(run)}
    peers = Peers(run, history.trained.epochs)
    begin = time.perf_counter()
    answers["regression"] = peers.answer_by_regression()
    seconds["regression"] = time.perf_counter() - begin
    rate, answers["full"] = peers.answer_by_full()
    seconds["full"] = time.perf_counter() - begin - seconds["regression"]
    return {
        "set": name,
        "seed": seed,
        "samples": sum(len(split.targets) for split in peers.splits.values()),
        "classes": len(peers.labels),
        "device": peers.settings.device,
        "why": history.trained.why,
        "kept": history.kept,
        "rate of (b)": rate,
        "seconds": {way: round(value, 1) for way, value in seconds.items()},
        "targets": answers["graft"].targets.tolist(),
        "predicted": {way: answered.predicted.tolist() for way, answered in answers.items()},
    }


def _read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _answers(row: dict[str, Any], way: str) -> Answered:
    return Answered(np.array(row["predicted"][way]), np.array(row["targets"]))


def _short(row: dict[str, Any]) -> str:
    figures = " ".join(f"{WAYS[way]} {_answers(row, way).accuracy:.3f}" for way in WAYS)
    return f"{figures}; {row['why']} {row['seconds']}"


def print_table(results: Path) -> None:
    """Print a row for each data set that has results, and how many are better, even and worse."""
    rows = defaultdict(list)
    for row in _read(results):
        rows[row["set"]].append(row)
    print(
        "\n| set | samples | classes | seeds | " + " | ".join(f"{way} accuracy" for way in WAYS.values()),
        end="",
    )
    print(" | " + " | ".join(f"{way} macro F1" for way in WAYS.values()) + " | lead | verdict |")
    print("| --- |" + " ---: |" * 9 + " ---: | --- |")
    verdicts = []
    for name in SETS:
        if rows[name]:
            line, verdict = _line(name, rows[name])
            print(line)
            verdicts.append(verdict)
    counts = {
        verdict: verdicts.count(verdict) for verdict in ("better", "within one standard error", "worse")
    }
    print(
        "\nOf {} sets: {}.".format(
            len(verdicts), ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        )
    )
    print(
        "Figures are means over seeds ± their standard error over seeds. The lead is that of Graft's\n"
        "accuracy over that of the better peer; its standard error is that of the samples' differences."
    )


def _line(name: str, rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return a row of the table, and its verdict."""
    answers = {way: [_answers(row, way) for row in rows] for way in WAYS}
    accuracy = {way: [each.accuracy for each in answers[way]] for way in WAYS}
    macro_f1 = {way: [each.macro_f1 for each in answers[way]] for way in WAYS}
    peer = max(("regression", "full"), key=lambda way: np.mean(accuracy[way]))
    differences = np.concatenate(
        [ours.right - theirs.right for ours, theirs in zip(answers["graft"], answers[peer], strict=True)]
    )
    lead, error = float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)
    verdict = "better" if lead > 0 else "within one standard error" if lead >= -error else "worse"
    cells = [*(_spread(accuracy[way]) for way in WAYS), *(_spread(macro_f1[way]) for way in WAYS)]
    head = f"| {name} | {rows[0]['samples']} | {rows[0]['classes']} | {len(rows)} | "
    return head + " | ".join(cells) + f" | {lead:+.3f} ± {error:.3f} | {verdict} |", verdict


def _spread(values: Sequence[float]) -> str:
    """Return a mean with the standard error over the seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
