"""Measure how often the 95 % intervals of the figures hold the truth, beside those of a percentile bootstrap.

The tables of docs/adr/0017 come from it.

python benchmarks/intervals.py [--repeats 400]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from pipeline.measures.calibration import reliability
from pipeline.measures.figures import area_by_ranks, auroc, macro_figures
from pipeline.measures.guessing import judge_guessing
from pipeline.measures.intervals import auroc_interval, ece_interval, macro_intervals, proportion_interval

COUNTS = (2, 5, 10, 30, 100)
TRUTHS = (0.5, 0.8, 0.95, 1.0)
DRAWS = 200
SLACK = 1e-9
Bounds = tuple[float, float]
Holds = Callable[[Bounds], bool]


def table(title: str, columns: Sequence[object], rows: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Print a table of Markdown."""
    print(f"\n{title}\n\n| | {' | '.join(map(str, columns))} |\n| --- |{' --- |' * len(columns)}")
    for name, values in rows:
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")


def holds(truth: float) -> Holds:
    """Return the test whether an interval holds a value."""
    return lambda bounds: bounds[0] - SLACK <= truth <= bounds[1] + SLACK


def accuracy() -> None:
    """Coverage for accuracy, exact: the sum over all numbers of right answers."""
    methods: dict[str, Callable[[int, int], Bounds]] = {
        "exact": proportion_interval,
        "Wilson": lambda right, count: tuple(binomtest(right, count).proportion_ci(0.95, "wilson")),
        "bootstrap": lambda right, count: tuple(binom.ppf((0.025, 0.975), count, right / count) / count),
    }
    rows = []
    for name, method in methods.items():
        for count in COUNTS:
            covered = [
                sum(
                    binom.pmf(right, count, truth)
                    for right in range(count + 1)
                    if holds(truth)(method(right, count))
                )
                for truth in TRUTHS
            ]
            rows.append((f"{name}, n = {count}", covered))
    table("Accuracy", [f"accuracy {truth}" for truth in TRUTHS], rows)


def resampled(counts: NDArray[np.int64], generator: np.random.Generator) -> Bounds:
    """Return the percentile bootstrap's interval of macro F1."""
    drawn = [
        macro_figures(np.stack([generator.multinomial(row.sum(), row / row.sum()) for row in counts]))
        for _ in range(DRAWS)
    ]
    low, high = np.quantile([each["macro_f1"] for each in drawn], (0.025, 0.975))
    return low, high


def macro(classes: int, counts: Sequence[int], repeats: int) -> None:
    """Coverage for macro F1, where all classes have one recall and as many samples as one another."""
    generator = np.random.default_rng(0)
    rows: dict[str, list[float]] = {}
    for count in counts:
        for recall in TRUTHS:
            shares = np.full((classes, classes), (1 - recall) / (classes - 1))
            np.fill_diagonal(shares, recall)
            sizes = np.maximum(np.full(classes, count // classes) + (np.arange(classes) < count % classes), 1)
            truth = macro_figures(np.rint(1e9 * shares * sizes[:, None]).astype(np.int64))["macro_f1"]
            found: dict[str, list[bool]] = {"ours": [], "bootstrap": []}
            for _ in range(repeats):
                drawn = np.stack(
                    [generator.multinomial(size, row) for size, row in zip(sizes, shares, strict=True)]
                )
                found["ours"].append(holds(truth)(macro_intervals(drawn)["macro_f1"]))
                found["bootstrap"].append(holds(truth)(resampled(drawn, generator)))
            for name, covered in found.items():
                rows.setdefault(f"{name}, n = {count}", []).append(float(np.mean(covered)))
    table(f"Macro F1, {classes} classes", [f"recall {truth}" for truth in TRUTHS], list(rows.items()))


def answers(
    targets: NDArray[np.int64], classes: int, skill: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw probabilities: a softmax of normal logits, of which the true class's are larger by the skill."""
    logits = generator.normal(0, 1, (len(targets), classes)) + skill * np.eye(classes)[targets]
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def ranking(classes: int, counts: Sequence[int], repeats: int) -> None:
    """Coverage for the AUROC, where all classes have as many samples as one another."""
    generator = np.random.default_rng(1)
    skills = [float(norm.ppf(truth) * np.sqrt(2)) if truth < 1 else 1000.0 for truth in TRUTHS]
    many = np.repeat(np.arange(classes), 60_000 // classes)
    truths = [auroc(answers(many, classes, skill, generator), many) for skill in skills]
    rows: dict[str, list[float]] = {}
    for count in counts:
        targets = np.repeat(np.arange(classes), max(count // classes, 1))
        for skill, truth in zip(skills, truths, strict=True):
            found: dict[str, list[bool]] = {"ours": [], "bootstrap": []}
            for _ in range(repeats):
                drawn = answers(targets, classes, skill, generator)
                found["ours"].append(holds(truth)(auroc_interval(drawn, targets)))
                found["bootstrap"].append(holds(truth)(reranked(drawn, targets, generator)))
            for name, covered in found.items():
                rows.setdefault(f"{name}, n = {len(targets)}", []).append(float(np.mean(covered)))
    table(f"AUROC, {classes} classes", [f"AUROC {truth:.2f}" for truth in truths], list(rows.items()))


def reranked(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], generator: np.random.Generator
) -> Bounds:
    """Return the percentile bootstrap's interval of the AUROC, drawn within each class."""
    members = [np.flatnonzero(targets == c) for c in np.unique(targets)]
    columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = []
    for _ in range(DRAWS // 4):
        chosen = np.concatenate([generator.choice(each, len(each)) for each in members])
        rows, drawn = probabilities[chosen], targets[chosen]
        areas.append(np.mean([area_by_ranks(rows[:, c], drawn == c) for c in columns]))
    low, high = np.quantile(areas, (0.025, 0.975))
    return low, high


def calibration(repeats: int) -> None:
    """Width and coverage for the ECE of a model whose confidence is 0.1 too large."""
    generator, rows = np.random.default_rng(2), []
    for count in COUNTS:
        covered, widths = [], []
        for _ in range(repeats):
            confidence = generator.uniform(0.65, 0.95, count)
            right = generator.random(count) < confidence - 0.1
            probabilities = np.stack([confidence, 1 - confidence], axis=1)
            targets = (~right).astype(np.int64)
            sure, true, share = reliability(probabilities, targets).T
            figure = float((np.abs(sure - true) * share).sum())
            bounds = ece_interval(probabilities, targets, figure, DRAWS, 0)
            covered.append(holds(0.1)(bounds))
            widths.append(bounds[1] - bounds[0])
        rows.append((f"n = {count}", [float(np.mean(covered)), float(np.mean(widths))]))
    table("ECE, truth 0.1", ["coverage", "mean width"], rows)


def gate(repeats: int) -> None:
    """How often guessers and models of some recall get the verdict `better`."""
    generator, rows = np.random.default_rng(3), []
    for sizes in ((5, 5), (15, 15), (95, 5), (40, 15, 5), (3,) * 10):
        targets = np.repeat(np.arange(len(sizes)), sizes)
        shares = []
        for recall in (None, 0.6, 0.8, 0.95):
            better = 0
            for seed in range(repeats):
                predicted = generator.permutation(targets)
                if recall is not None:
                    predicted = np.where(generator.random(len(targets)) < recall, targets, predicted)
                better += judge_guessing(predicted, targets, len(sizes), seed).verdict == "better"
            shares.append(better / repeats)
        rows.append((str(sizes) if len(sizes) < 10 else "10 times 3", shares))
    table("Verdict `better`", ["guesser", "60 % known", "80 % known", "95 % known"], rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    accuracy()
    macro(2, COUNTS, repeats)
    macro(10, COUNTS[2:], repeats)
    ranking(2, COUNTS, repeats)
    ranking(3, COUNTS[2:], repeats)
    calibration(repeats)
    gate(min(repeats, 200))


if __name__ == "__main__":
    main()
