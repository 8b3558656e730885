from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.finetune.schedule import warmup_cosine


def test_warmup_cosine_rises_then_falls_to_nothing() -> None:
    factor = warmup_cosine(0.1, 100)
    values = [factor(step) for step in range(101)]
    assert values[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(values) == values[10] == 1
    assert all(a >= b for a, b in pairwise(values[10:]))
    assert values[100] == pytest.approx(0, abs=1e-9)
