"""Exact resume: a training that is killed again and again ends in the weights of one that is not."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from finetuning.commands import graft, start
from finetuning.runs import Workplace
from finetuning.strategies import backbones, random_timm

# Each strategy with a small backbone: what a training depends on does not follow from the size, and there are
# many of them. Two have batch statistics, and one has dropout.
STRATEGIES = {"lp-ft": "test_resnet", "gradual": "test_efficientnet", "lora": "GPT-2"}
CHECKPOINT_MINUTES = 0.02
EPOCHS = 10
# Of one training. What is killed before it has written anything begins anew, and on a machine that has become
# slower than it was when the training was timed, it might never end.
MOST_KILLS = 4


def print_kills(place: Workplace, kills: int, backbone: str | None = None, seed: int = 0) -> None:
    """Kill trainings of each strategy so many times, and print how many ended in the same weights.

    Args:
        place: Where to work.
        kills: Number of kills of each strategy.
        backbone: Name of the backbone of all strategies; None, the default, for that of each.
        seed: Seed of the times of the kills.
    """
    print("| strategy | kills | trainings compared | equal to the first, in peace |")
    print("| --- | ---: | ---: | ---: |")
    for strategy, usual in STRATEGIES.items():
        chance = random.Random(f"{strategy} {seed}")
        done, hashes, expected = _kill_trainings(place, strategy, backbone or usual, kills, chance)
        equal = sum(each == expected for each in hashes)
        print(f"| {strategy} | {done} | {len(hashes)} | {equal} |", flush=True)
    print(f"\nWeights are compared by SHA-256; the times of the kills are drawn with seed {seed}.")


def _kill_trainings(
    place: Workplace, strategy: str, name: str, kills: int, chance: random.Random
) -> tuple[int, list[str], str]:
    """Return the number of kills, the hashes of the killed trainings, and that of the one that was not."""
    if name.startswith("test_"):
        data_set, backbone = "faces-200", random_timm(place.folder / "weights", name)
    else:
        data_set, backbone = backbones(place)[name]
    changes = [
        f"finetune.mode: {strategy}",
        f"finetune.epochs: {EPOCHS}",
        f"finetune.checkpoint_minutes: {CHECKPOINT_MINUTES}",
    ]
    run = place.start(data_set, 0, changes, backbone)
    root = run.folder.root
    recipe, log = place.folder / "recipes" / f"{root.name}.yaml", place.folder / "resume.log"
    shutil.rmtree(root, ignore_errors=True)
    _must(graft(["data", recipe, "--run", root], log))
    before = root.with_name(f"{root.name}-data")
    shutil.rmtree(before, ignore_errors=True)
    shutil.copytree(root, before)
    _must(graft(["finetune", recipe, "--run", root], log))  # fills the cache of features, which both then use
    expected, seconds = _hash(root), 0.0
    _restore(before, root)
    again = _must(graft(["finetune", recipe, "--run", root], log))
    seconds, hashes, done = again.seconds, [_hash(root)], 0
    while done < kills:
        _restore(before, root)
        most = min(MOST_KILLS, kills - done)
        done += _train_under_kills(["finetune", recipe, "--run", root], log, seconds, chance, most)
        hashes.append(_hash(root))
    return done, hashes, expected


def _train_under_kills(
    command: list[object], log: Path, seconds: float, chance: random.Random, most: int
) -> int:
    """Carry out a command that is killed at random and started again until it ends; return the kills."""
    kills = 0
    while True:
        process = start(command, log)
        deadline = time.monotonic() + chance.uniform(0.3, 1.1) * seconds
        while process.poll() is None and (kills == most or time.monotonic() < deadline):
            time.sleep(0.02)
        if process.poll() is not None:
            if process.returncode:
                raise SystemExit(f"the resumed training failed:\n{log.read_text()[-2000:]}")
            return kills
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1


def _must(result):
    if result.code:
        raise subprocess.CalledProcessError(result.code, "graft", output=result.log[-2000:])
    return result


def _restore(before: Path, root: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(before, root)


def _hash(root: Path) -> str:
    return hashlib.sha256((root / "checkpoint" / "model.safetensors").read_bytes()).hexdigest()
