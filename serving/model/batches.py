"""The division of decoded inputs into runs on a CPU, for kinds of input that gain from running together."""

from __future__ import annotations

from collections.abc import Sequence

MOST_INPUTS = 32
"""Inputs in one run at most: the largest batch whose answers a receipt compares with those of single runs."""


def plan_runs(sizes: Sequence[int], most_elements: int, most_inputs: int = MOST_INPUTS) -> list[list[int]]:
    """Divide inputs into runs of similar length, of which none holds more than so many elements.

    An input is padded to the longest of its run, so inputs are sorted by length first. An input that is
    larger than the bound runs alone. The largest runs come first, so that threads that share them end
    at about the same time.

    Args:
        sizes: Number of elements of each decoded input.
        most_elements: Number of elements, padding included, that a run of several inputs may hold.
        most_inputs: Number of inputs that a run may hold. The default is 32.

    Returns:
        The indices of the inputs of each run; every input is in one of them.
    """
    runs: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        run = runs[-1] if runs else []
        longest = sizes[run[0]] if run else 0
        if run and len(run) < most_inputs and (len(run) + 1) * longest <= most_elements:
            run.append(index)
        else:
            runs.append([index])
    return runs
