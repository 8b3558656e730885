from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.start.prepared import spread


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=300).map(np.array), st.integers(1, 400))
def test_spread_chooses_about_so_many_and_leaves_out_no_class(targets: np.ndarray, limit: int) -> None:
    chosen = spread(targets, limit)
    assert np.array_equal(chosen, np.unique(chosen))
    assert set(targets[chosen]) == set(targets)
    assert min(limit, len(targets)) <= len(chosen) <= min(limit + len(set(targets)), len(targets))
