from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.export.temperature import scale_temperature
from pipeline.measures.reference import Answers
from pipeline.measures.temperature import correction
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.export.int8.models import make_model, run


def make_answers(seed: int, scale: float = 3.0) -> Answers:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, 200)
    logits = rng.normal(0, scale, (200, 3)) + 2 * np.eye(3)[targets]
    return Answers(logits.astype(np.float32), targets, ["00" * 32] * 200)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.6, 1.6), temperature=st.floats(0.8, 2))
def test_correction_finds_by_how_much_confidence_was_compressed(
    seed: int, factor: float, temperature: float
) -> None:
    exact = make_answers(seed)
    served = CLASSIFICATION.probabilities(exact.logits * factor, temperature)
    assert correction(served, exact, temperature) == pytest.approx(factor, rel=1e-3)


def test_correction_is_one_when_nothing_changed() -> None:
    exact = make_answers(0)
    assert correction(
        CLASSIFICATION.probabilities(exact.logits, 1.7).astype(np.float32), exact, 1.7
    ) == pytest.approx(1, abs=1e-4)


def divided(temperature: float) -> bytes:
    """The small model, with a division by a constant before its softmax, which another node uses too."""
    document = onnx.load_from_string(make_model())
    last = next(node for node in document.graph.node if node.op_type == "Softmax")
    document.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(temperature, np.float32), "shared")
    )
    division = onnx.helper.make_node("Div", [last.input[0], "shared"], ["calibrated"], name="division")
    other = onnx.helper.make_node("Identity", ["shared"], ["unused"], name="other")
    last.input[0] = "calibrated"
    copies = [
        onnx.NodeProto.FromString(n.SerializeToString())
        for n in (*list(document.graph.node)[:-1], other, division, last)
    ]
    del document.graph.node[:]
    document.graph.node.extend(copies)
    return document.SerializeToString()


def test_scale_temperature_changes_that_division_alone() -> None:
    x = [{"x": np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)}]
    assert np.allclose(run(scale_temperature(divided(1.5), 2.0), x), run(divided(3.0), x), atol=1e-6)
    values = {
        t.name: float(onnx.numpy_helper.to_array(t))
        for t in onnx.load_from_string(scale_temperature(divided(1.5), 2.0)).graph.initializer
        if not t.dims
    }
    assert values == {"shared": 1.5, "softmax_temperature": 3.0}


def test_scale_temperature_refuses_a_graph_that_ends_otherwise() -> None:
    with pytest.raises(ValueError, match="not in Div and Softmax"):
        scale_temperature(make_model(), 2.0)
