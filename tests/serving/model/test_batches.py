from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.model.batches import MOST_INPUTS, plan_runs


@given(st.lists(st.integers(1, 300), max_size=100), st.integers(1, 400), st.integers(1, 40))
def test_every_input_is_in_one_run_and_no_run_is_larger_than_it_may_be(
    sizes: list[int], most_elements: int, most_inputs: int
) -> None:
    runs = plan_runs(sizes, most_elements, most_inputs)
    assert sorted(index for run in runs for index in run) == list(range(len(sizes)))
    for run in runs:
        assert len(run) <= most_inputs
        assert len(run) == 1 or len(run) * max(sizes[index] for index in run) <= most_elements


@given(st.lists(st.integers(1, 300), min_size=1, max_size=100))
def test_lengths_of_one_run_are_next_to_each_other_and_the_longest_come_first(sizes: list[int]) -> None:
    lengths = [[sizes[index] for index in run] for run in plan_runs(sizes, 256)]
    assert [length for run in lengths for length in run] == sorted(sizes, reverse=True)


def test_short_inputs_share_runs_up_to_what_a_receipt_covers() -> None:
    assert [len(run) for run in plan_runs([1] * 70, 256)] == [MOST_INPUTS, MOST_INPUTS, 6]
    assert [len(run) for run in plan_runs([1, 300, 2], 256)] == [1, 2]
