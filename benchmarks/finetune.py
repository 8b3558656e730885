"""Measure fine-tuning: the defaults on unseen data, speed, resume, LoRA, and every strategy.

    python benchmarks/finetune.py defaults --packages FOLDER [--seeds 3] [--sets cells-200 books-140]
    python benchmarks/finetune.py cells|rate|resume|lora|strategies

Each prints its row of the table of docs/benchmarks.md. Data and weights come from packages, which are looked
for in the folders of --packages and in Python's own; what is missing is named with the command that gets it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from finetuning.packages import Packages
from finetuning.runs import MINILM, Workplace
from finetuning.sets import SETS


def defaults(place: Workplace, options: argparse.Namespace) -> None:
    from finetuning.defaults import measure, print_table

    names, seeds = options.sets or list(SETS), range(options.seeds)
    print_table(measure(place, names, seeds, jobs=options.jobs, changes=options.change))


def rate(place: Workplace, options: argparse.Namespace) -> None:  # noqa: ARG001 - all parts are called alike
    from finetuning.rate import print_ratio

    print_ratio(options.rounds)


def resume(place: Workplace, options: argparse.Namespace) -> None:
    from finetuning.resume import print_kills

    print_kills(place, options.kills, *options.backbones[:1])


def lora(place: Workplace, options: argparse.Namespace) -> None:
    from finetuning.lora import print_comparison

    print_comparison(place, range(options.seeds), options.epochs)


def strategies(place: Workplace, options: argparse.Namespace) -> None:
    from finetuning.strategies import print_matrix

    print_matrix(place, options.backbones)


def cells(place: Workplace, options: argparse.Namespace) -> None:
    from finetuning.cells import print_figures

    print_figures(place, range(options.seeds), options.change)


PARTS = {
    "defaults": defaults,
    "cells": cells,
    "rate": rate,
    "resume": resume,
    "lora": lora,
    "strategies": strategies,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument(
        "--work", type=Path, default=Path("models/benchmarks"), help="folder of data and runs"
    )
    parser.add_argument(
        "--packages", type=Path, action="append", default=[], help="folder of unpacked packages"
    )
    parser.add_argument("--text-weights", default=MINILM, help="the encoder of texts, as a recipe takes it")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--sets", nargs="*", choices=SETS, help="data sets; by default all")
    parser.add_argument("--results", type=Path, help="folder of the results; by default that of --work")
    parser.add_argument("--change", action="append", default=[], help="such as finetune.epochs:1")
    parser.add_argument("--backbones", nargs="*", default=[], help="of `strategies` (all) or `resume`")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of `rate`")
    parser.add_argument("--kills", type=int, default=20, help="kills of each strategy of `resume`")
    parser.add_argument("--epochs", type=int, help="epochs of `lora`; by default those of the recipe")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    options = parser.parse_args()
    place = Workplace(
        folder=options.work,
        results=options.results or options.work,
        packages=Packages(options.packages),
        text_weights=options.text_weights,
    )
    PARTS[options.part](place, options)


if __name__ == "__main__":
    main()
