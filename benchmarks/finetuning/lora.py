"""LoRA beside full fine-tuning: the share of parameters that train, the peak memory, and the macro F1."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from finetuning.commands import graft
from finetuning.runs import Backbone, Workplace, answer_test
from finetuning.strategies import backbones

MODES = ("features", "full", "lora")
PERCENT = re.compile(r"([\d.]+) % of the parameters train")


def print_comparison(place: Workplace, seeds: Sequence[int], epochs: int | None) -> None:
    """Train by LoRA and fully, each in a process of its own, and print both.

    Memory is counted above that of the same command with ``mode: features``, which loads and prepares all the
    same but trains nothing.

    Args:
        place: Where to work.
        seeds: The seeds.
        epochs: Number of epochs; None for the default.
    """
    known = backbones(place)
    print("| backbone, data | parameters that train | memory, full | LoRA | ratio | macro F1, full | LoRA |")
    print("| --- |" + " ---: |" * 6)
    for name, data_set in (("MiniLM", "tweets-1500"), ("ViT tiny", "cells-200")):
        _print_row(place, name, data_set, known[name][1], seeds, epochs)
    print(
        "\nMemory in MiB above that of `mode: features`; figures are medians (memory) and means over seeds."
    )


def _print_row(
    place: Workplace, name: str, data_set: str, backbone: Backbone, seeds: Sequence[int], epochs: int | None
) -> None:
    peaks: dict[str, list[float]] = {mode: [] for mode in MODES}
    scores: dict[str, list[float]] = {mode: [] for mode in MODES}
    share = ""
    # The first command also computes the features, which takes memory; it is carried out once more.
    for seed, mode in [(min(seeds), MODES[0]), *((seed, mode) for seed in seeds for mode in MODES)]:
        changes = [f"finetune.mode: {mode}", *([f"finetune.epochs: {epochs}"] if epochs else [])]
        run = place.start(data_set, seed, changes, backbone)
        recipe = place.folder / "recipes" / f"{run.folder.root.name}.yaml"
        log = place.folder / "lora.log"
        for stage in ("data", "finetune"):
            result = graft([stage, recipe, "--run", run.folder.root, "--force"], log)
            if result.code:
                raise SystemExit(f"{name}, {mode}: {stage} failed\n{result.log[-2000:]}")
        peaks[mode].append(result.peak_mib)
        scores[mode].append(answer_test(run).macro_f1)
        if mode == "lora" and (found := PERCENT.search(result.log)):
            share = f"{found[1]} %"
    base = statistics.median(peaks["features"][1:])
    full, lora = (statistics.median(peaks[mode]) - base for mode in ("full", "lora"))
    figures = " | ".join(f"{statistics.mean(scores[mode]):.3f}" for mode in ("full", "lora"))
    print(
        f"| {name}, {data_set} | {share} | {full:.0f} | {lora:.0f} | {lora / full:.2f} | {figures} |",
        flush=True,
    )
