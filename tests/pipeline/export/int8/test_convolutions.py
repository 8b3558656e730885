"""The rounding of convolutions, and what is written of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional

from pipeline.artifacts.sessions import answer
from pipeline.export.int8 import convolutions
from pipeline.export.int8.changes import Changes
from pipeline.export.int8.convolutions import Layer, round_convolutions
from pipeline.export.int8.quantiser import layers_of
from pipeline.measures.divergence import kl_divergences
from tests.pipeline.export.int8.mobile import fp32, make_inputs, prepared, quantised


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": [2, 1], "pads": [1, 2, 1, 2], "dilations": [1, 2]},
        {"group": 2, "pads": [1, 1, 1, 1]},
        {"group": 6, "strides": [2, 2]},
        {"kernel": 1, "group": 2, "pads": [1, 1, 1, 1]},
        {"kernel": 1, "strides": [2, 2]},
    ],
)
def test_patches_are_what_a_kernel_is_multiplied_by(options: dict[str, object]) -> None:
    rng, groups = np.random.default_rng(0), options.get("group", 1)
    side = options.get("kernel", 3)
    kernel = rng.normal(size=(12, 6 // groups, side, side)).astype(np.float32)
    value = rng.normal(size=(1, 6, 9, 11)).astype(np.float32)
    patches = Layer("x", "w", None, kernel, options).patches(value)
    products = torch.from_numpy(kernel.reshape(groups, 12 // groups, -1)) @ patches
    pads = options.get("pads", [0, 0, 0, 0])
    wanted = functional.conv2d(
        torch.from_numpy(value), torch.from_numpy(kernel), None, options.get("strides", 1), pads[:2],
        options.get("dilations", 1), groups,
    )  # fmt: skip
    assert torch.allclose(products.reshape(12, -1), wanted.reshape(12, -1), atol=1e-5)


def test_round_convolutions_changes_unseen_answers_less_than_the_nearest_numbers() -> None:
    inputs = make_inputs(64, seed=5)
    exact = answer(fp32(), inputs)
    changes = round_convolutions(prepared(), layers_of(prepared()), make_inputs())
    plain, rounded = (
        kl_divergences(exact, answer(each.apply(quantised()), inputs)).mean() for each in (Changes(), changes)
    )
    assert rounded < 0.4 * plain


def test_round_convolutions_takes_several_passes_where_the_sums_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = layers_of(prepared())
    at_once = round_convolutions(prepared(), names, make_inputs(8))
    monkeypatch.setattr(convolutions, "LARGEST_GRAMS", 1)
    one_by_one = round_convolutions(prepared(), names, make_inputs(8))
    assert len(at_once.whole) == len(names)
    for name, whole in at_once.whole.items():
        assert np.array_equal(one_by_one.whole[name], whole)


def test_round_convolutions_takes_channels_that_never_change() -> None:
    kernel = np.linspace(-1, 1, 18, dtype=np.float32).reshape(2, 1, 3, 3)
    layer = Layer("x", "w", "b", kernel, {"group": 2})
    moments = convolutions.Moments(
        torch.zeros(2, 9, 9, dtype=torch.float64), torch.zeros(2, 9, dtype=torch.float64)
    )
    for value in (5.3, 5.3, 5.3):
        moments.add(torch.full((2, 9, 49), value))
    whole, lost = convolutions._round(layer, moments)
    steps = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 64
    assert np.abs(whole * steps - kernel).max() <= steps.max()
    assert np.allclose(((kernel - whole * steps) * 5.3).sum(axis=(1, 2, 3)), lost, atol=1e-5)


def test_first_depthwise_convolution_stays_fp32_beside_the_stem() -> None:
    document = onnx.load_from_string(quantised())
    weights = {tensor.name: tuple(tensor.dims) for tensor in document.graph.initializer}
    kernels = [weights.get(node.input[1]) for node in document.graph.node if node.op_type == "Conv"]
    assert kernels[:2] == [(8, 3, 3, 3), (8, 1, 3, 3)]
    assert kernels[2:] == [None] * 5, "what is rounded comes from a DequantizeLinear"


def test_changes_write_whole_numbers_and_biases_in_steps_of_the_changed_scales() -> None:
    document = onnx.load_from_string(prepared())
    node = next(node for node in document.graph.node if node.name == layers_of(prepared())[0])
    (_, weight, bias), channels = node.input, 12
    whole = np.arange(channels * 8, dtype=np.int8).reshape(12, 8, 1, 1) % 64
    gains, biases = (
        np.linspace(0.5, 2, channels, dtype=np.float32),
        np.linspace(-1, 1, channels, dtype=np.float32),
    )
    written = read(
        Changes({weight: whole}, {bias: biases}, {weight: gains}, {bias: weight}).apply(quantised())
    )
    before = read(quantised())
    assert np.array_equal(written[f"{weight}_quantized"], whole)
    assert np.allclose(written[f"{weight}_scale"], before[f"{weight}_scale"] * gains)
    steps = written[f"{bias}_quantized_scale"]
    assert np.allclose(steps, before[f"{bias}_quantized_scale"] * gains)
    assert np.abs(written[f"{bias}_quantized"] * steps - biases).max() <= steps.max() / 2 + 1e-7


def read(model: bytes) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(model).graph.initializer}
