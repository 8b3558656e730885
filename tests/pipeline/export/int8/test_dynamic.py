from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts.limits import LIMITS
from pipeline.export.int8.activations import measure_activations
from pipeline.export.int8.dynamic import make_int8, make_plan, write_int8
from pipeline.export.int8.gptq import LEVELS, round_weights
from pipeline.export.int8.harm import is_close
from pipeline.export.int8.products import read_products
from pipeline.export.int8.smoothing import (
    choose_factors,
    round_dynamically,
    round_to_nearest,
    smoothing_factors,
    weight_scales,
)
from pipeline.measures.divergence import cosines, kl_divergences
from tests.pipeline.export.int8.models import CHANNELS, OUTLIER, make_inputs, make_model, run

INT8 = LIMITS["int8"]
NEAR = replace(INT8, min_cosine=0.999, min_agreement=0.97, max_mean_kl=4e-4)  # a product too much misses it
NAMES = {"product_a", "product_b"}


@pytest.mark.parametrize("gemm", [False, True])
def test_read_products_finds_all_but_the_head(gemm: bool) -> None:
    document, products = read_products(make_model(gemm=gemm))
    assert list(products) == ["x"]
    assert {product.matrix.shape for product in products["x"]} == {(CHANNELS, 16)}
    inputs = make_inputs(4)
    assert np.abs(run(document.SerializeToString(), inputs) - run(make_model(gemm=gemm), inputs)).max() < 1e-6


def test_measure_activations_sums_what_all_inputs_make_of_them() -> None:
    inputs = make_inputs()
    found = measure_activations(*read_products(make_model()), inputs)["x"]
    everything = np.concatenate([feeds["x"] for feeds in inputs])
    assert int(found.peaks.argmax()) == OUTLIER
    assert np.allclose(found.peaks, np.abs(everything).max(axis=0))
    gram = everything.T.astype(np.float64) @ everything
    assert np.abs(found.gram - gram).max() < 1e-5 * np.abs(gram).max()
    assert 16 <= len(found.examples) <= 32


def test_choose_factors_evens_out_an_outlier() -> None:
    document, products = read_products(make_model())
    activation = measure_activations(document, products, make_inputs())["x"]
    matrix = np.concatenate([product.matrix for product in products["x"]], axis=1)
    factors = choose_factors(activation, matrix)
    assert factors is not None
    assert int(factors.argmax()) == OUTLIER
    assert np.log(factors).mean() == pytest.approx(0, abs=1e-5)
    assert smoothing_factors(activation.peaks, matrix, None) is None


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(2, 300),
    outputs=st.integers(1, 8),
    rank=st.integers(1, 40),
)
def test_round_weights_stays_in_7_bits_and_never_changes_products_more_than_rounding_to_the_nearest(
    seed: int, channels: int, outputs: int, rank: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(channels, outputs)).astype(np.float32)
    inputs = (
        rng.normal(size=(200, rank)) @ rng.normal(size=(rank, channels))
        + 0.1 * rng.normal(size=(200, channels))
    ).astype(np.float32)
    rounded = round_weights(matrix, inputs.T.astype(np.float64) @ inputs)
    assert np.abs(rounded.whole.astype(int)).max() <= LEVELS
    assert np.array_equal(rounded.scales, weight_scales(matrix))
    exact = inputs @ matrix
    ours = np.linalg.norm(inputs @ (rounded.whole * rounded.scales) - exact)
    assert ours <= 1.0001 * np.linalg.norm(inputs @ round_to_nearest(matrix) - exact) + 1e-6


def test_round_weights_changes_products_of_correlated_channels_less() -> None:
    rng = np.random.default_rng(0)
    inputs = (
        rng.normal(size=(500, 12)) @ rng.normal(size=(12, 200)) + 0.05 * rng.normal(size=(500, 200))
    ).astype(np.float32)
    matrix = rng.normal(size=(200, 8)).astype(np.float32)
    rounded = round_weights(matrix, inputs.T.astype(np.float64) @ inputs)
    ours, plain = (
        np.linalg.norm(inputs @ m - inputs @ matrix)
        for m in (rounded.whole * rounded.scales, round_to_nearest(matrix))
    )
    assert ours < 0.5 * plain


@pytest.mark.parametrize("gram", [np.zeros((4, 4)), np.ones((4, 4))])
def test_round_weights_takes_channels_that_are_silent_or_all_alike(gram: np.ndarray) -> None:
    matrix = np.array([[1.0], [-0.5], [0.25], [0.0]], np.float32)
    rounded = round_weights(matrix, gram)
    assert np.abs(rounded.whole * rounded.scales - matrix).max() < 0.05


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_round_dynamically_errs_by_at_most_one_step(values: list[float]) -> None:
    array = np.array([values], np.float32)
    step = (max(array.max(), 0) - min(array.min(), 0)) / 255
    assert np.abs(round_dynamically(array) - array).max() <= 1.01 * step + 1e-6


@pytest.mark.parametrize("gemm", [False, True])
def test_make_int8_changes_answers_little_and_less_than_plain_rounding(gemm: bool) -> None:
    model, inputs = make_model(gemm=gemm), make_inputs()
    made = make_int8(model, inputs, replace(INT8, min_agreement=0.9))
    document = onnx.load_from_string(made.model)
    assert sum(node.op_type == "MatMulInteger" for node in document.graph.node) == 2
    assert sum(node.op_type == "DynamicQuantizeLinear" for node in document.graph.node) == 1, (
        "both products share it"
    )
    assert {item.key: item.value for item in document.metadata_props}["graft.name"] == "small"
    exact = run(model, inputs)
    assert np.abs(made.answers - run(made.model, inputs)).max() == 0
    assert cosines(exact, made.answers).min() > 0.995
    plan = make_plan(model, inputs)
    uneven = write_int8(
        type(plan)(plan.document, plan.products, dict.fromkeys(plan.factors), _rounded_as_they_are(plan)), ()
    )
    assert (
        kl_divergences(exact, made.answers).mean()
        < 0.3 * kl_divergences(exact, run(uneven, inputs).astype(np.float64)).mean()
    )


def _rounded_as_they_are(plan):
    return {
        p.weight: round_weights(p.matrix, np.eye(len(p.matrix)))
        for own in plan.products.values()
        for p in own
    }


def test_write_int8_leaves_the_answers_as_they_are_when_everything_is_kept() -> None:
    model, inputs = make_model(), make_inputs()
    kept = write_int8(make_plan(model, inputs), NAMES)
    assert np.abs(run(kept, inputs) - run(model, inputs)).max() < 1e-6


def test_make_int8_puts_the_most_harmful_product_back_when_the_limit_is_near() -> None:
    model, inputs = make_model(), make_inputs(30)
    made = make_int8(model, inputs, NEAR)
    assert len(made.kept) == 1, "a quarter of two, but at least one"
    (other,) = NAMES - set(made.kept)
    exact = run(model, inputs).astype(np.float64)
    plan = make_plan(model, inputs)
    assert (
        kl_divergences(exact, made.answers).mean()
        < kl_divergences(exact, run(write_int8(plan, (other,)), inputs).astype(np.float64)).mean()
    )


def test_make_int8_gives_the_same_bytes_twice() -> None:
    model, inputs = make_model(), make_inputs()
    assert make_int8(model, inputs, INT8).model == make_int8(model, inputs, INT8).model


def test_is_close_asks_for_more_than_the_receipt_will() -> None:
    exact = np.full((200, 2), [0.9, 0.1])
    assert is_close(exact, exact, INT8)
    for change in ({"min_cosine": 1.001}, {"max_mean_kl": -1.0}, {"min_agreement": 1.001}):
        assert not is_close(exact, exact, replace(INT8, **change))
    flipped = exact.copy()
    flipped[:3] = [0.495, 0.505]
    assert not is_close(exact, flipped, INT8), "3 of 200 answers differ, and half of 2 % may"
