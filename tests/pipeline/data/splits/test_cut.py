from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.splits.cut import CALIBRATION, TEST, TRAIN, VALIDATION, Cut

SHARES = st.tuples(*[st.floats(0.001, 0.32)] * 3)


@given(shares=SHARES, size=st.integers(1, 2000))
def test_bounds_always_leave_a_way_to_divide(shares: tuple[float, float, float], size: int) -> None:
    cut = Cut.of(dict(zip((TEST, VALIDATION, CALIBRATION), shares, strict=True)))
    for every in (True, False):
        low, high = cut.bounds(np.array([size]), every=every)
        assert low.sum() <= size <= high.sum()
        assert (low >= 0).all()
        assert (low <= high).all()
    low = cut.bounds(np.array([size]))[0][0]
    assert [split for split, least in zip(cut.splits, low, strict=True) if least][-1] == TRAIN
    assert sum(low[:2] > 0) + (low[3] > 0) == min(size, 3)


def test_draw_gives_each_split_its_share() -> None:
    cut = Cut.of({VALIDATION: 0.15, TEST: 0.25})
    columns = cut.draw(np.arange(0, 1, 0.001))
    assert cut.splits == (TEST, VALIDATION, TRAIN)
    assert np.bincount(columns).tolist() == [250, 150, 600]
