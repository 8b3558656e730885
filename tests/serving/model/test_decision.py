from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.model.decision import most_probable

# Few values, so that ties are frequent.
scores = arrays(np.float32, (5, 4), elements=st.sampled_from([0.0, 0.25, 0.5]))


@settings(deadline=None)
@given(scores)
def test_most_probable_answers_a_row_alone_as_it_does_among_others(rows: np.ndarray) -> None:
    together = most_probable(rows)
    assert together.dtype == np.int64
    assert together.tolist() == [int(most_probable(row)) for row in rows]
    assert together.tolist() == [row.index(max(row)) for row in rows.tolist()]
