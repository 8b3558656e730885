"""Graphs with gradients that round as ONNX Runtime does, and their training on the fp32 model's answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifacts.limits import LIMITS
from pipeline.artifacts.sessions import answer
from pipeline.export.int8 import distilling, static
from pipeline.export.int8.changes import Changes
from pipeline.export.int8.convolutions import round_convolutions
from pipeline.export.int8.distilling import BATCH, Lessons, distill
from pipeline.export.int8.operators import OPERATORS
from pipeline.export.int8.quantiser import layers_of
from pipeline.export.int8.student import Student, UntrainableError
from pipeline.measures.divergence import kl_divergences
from tests.pipeline.export.int8.mobile import (
    Scaled,
    fp32,
    make_inputs,
    make_pictures,
    prepared,
    quantised,
)

STEPS = 60
STRICT = replace(LIMITS["int8"], min_cosine=1.0)


class Pictures:
    """Training examples."""

    def __init__(self, count: int = 200) -> None:
        self.pixels = make_pictures(count, seed=2)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: np.ndarray, device: str, generator: object = None) -> dict[str, torch.Tensor]:
        assert (device, generator) == ("cpu", None)
        return {"image": torch.from_numpy(self.pixels[indices])}


def lessons(steps: int = STEPS, seed: int = 0) -> Lessons:
    return Lessons(Pictures(), "pictures", steps, seed)


def student_of(changes: Changes) -> Student:
    return Student(onnx.load_from_string(quantised()), onnx.load_from_string(prepared()), changes)


def answers_of(student: Student, pictures: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        (answers,) = student.forward({"image": torch.from_numpy(pictures)}, ["probabilities"])
    return answers.numpy()


@pytest.mark.parametrize("trained", [False, True])
def test_student_answers_as_onnx_runtime_does(trained: bool) -> None:
    changes = round_convolutions(prepared(), layers_of(prepared()), make_inputs())
    student = student_of(changes)
    if trained:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for value in student.values:
                value.add_(torch.randn(value.shape, generator=generator))
            for gain in student.gains.values():
                gain.add_(0.1 * torch.randn(gain.shape, generator=generator))
    pictures = make_pictures(32, seed=4)
    inputs = [{"image": picture[None]} for picture in pictures]
    served = answer(student.changes().apply(quantised()), inputs)
    error = np.abs(served - answer(fp32(), inputs)).mean()
    assert np.abs(answers_of(student, pictures) - served).mean() < 0.02 * error


def test_student_trains_every_layer_that_is_rounded() -> None:
    student = student_of(Changes())
    layers = layers_of(prepared())
    assert len(layers) == 5, "of eight all but the stem, the depthwise layer after it, and the head"
    assert len(student.gains) == len(layers)
    assert len(student.values) == 2 * len(layers), "weights and biases"
    (answers,) = student.forward({"image": torch.from_numpy(make_pictures(4, 0))}, ["probabilities"])
    answers[:, 0].sum().backward()
    for parameter in student.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_distill_makes_unseen_answers_closer() -> None:
    inputs = make_inputs(64, seed=5)
    exact = answer(fp32(), inputs)
    before = Changes()
    after = distill(prepared(), quantised(), before, lessons())
    divergences = [
        kl_divergences(exact, answer(each.apply(quantised()), inputs)).mean() for each in (before, after)
    ]
    assert divergences[1] < 0.6 * divergences[0]


def test_distill_bounds_its_memory_by_running_fewer_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    forward = Student.forward

    def count(self: Student, feeds: dict[str, torch.Tensor], names: list[str]) -> list[torch.Tensor]:
        at_once.append(len(feeds["image"]))
        return forward(self, feeds, names)

    whole = distill(prepared(), quantised(), Changes(), lessons(1))
    size = student_of(Changes()).floats({"image": torch.from_numpy(make_pictures(1, 0))})
    monkeypatch.setattr(distilling, "LARGEST_PART", 5 * size)
    monkeypatch.setattr(Student, "forward", count)
    parts = distill(prepared(), quantised(), Changes(), lessons(1))
    assert at_once == [1, 4, 4, 4, 4]
    for name, bias in whole.biases.items():
        assert np.allclose(parts.biases[name], bias, atol=1e-4)


def test_distill_gives_the_same_bytes_for_the_same_seed_alone() -> None:
    files = [
        distill(prepared(), quantised(), Changes(), lessons(3, seed)).apply(quantised()) for seed in (0, 0, 1)
    ]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_lessons_meet_every_sample_before_one_comes_again() -> None:
    batches = Lessons(Pictures(3 * BATCH), "pictures", 7, seed=1).batches()
    assert [len(batch) for batch in batches] == [BATCH] * 7
    assert (
        sorted(np.concatenate(batches[:3])) == sorted(np.concatenate(batches[3:6])) == list(range(3 * BATCH))
    )
    assert Lessons(Pictures(3 * BATCH), "pictures", 7, 1).samples == 3 * BATCH
    assert Lessons(Pictures(3 * BATCH), "pictures", 2, 1).samples == 2 * BATCH


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "METHODS", {"MinMax": {}})


@pytest.mark.usefixtures("quick")
def test_make_int8_distills_where_rounding_is_not_close() -> None:
    rounded = static.make_int8(fp32(), make_inputs(), STRICT)
    made = static.make_int8(fp32(), make_inputs(), STRICT, lambda: lessons(8))
    assert made.method.startswith(
        "static: 7-bit weights rounded by GPTQ, distilled for 8 steps on 128 training pictures"
    )
    assert (made.model != rounded.model) == ("in vain" not in made.method)


@pytest.mark.usefixtures("quick")
def test_make_int8_does_not_even_decode_training_samples_where_rounding_is_close() -> None:
    lax = replace(LIMITS["int8"], min_cosine=0.0, min_agreement=0.0, max_mean_kl=10.0)

    def refuse() -> Lessons:
        raise AssertionError

    made = static.make_int8(fp32(), make_inputs(8), lax, refuse)
    assert made.method == "static: 7-bit weights, ranges by MinMax"


@pytest.mark.usefixtures("quick")
def test_make_int8_leaves_the_constants_of_products_alone() -> None:
    made = static.make_int8(fp32(Scaled), make_inputs(), STRICT, lambda: lessons(8))
    assert "distilled for 8 steps" in made.method
    assert np.isfinite(answer(made.model, make_inputs(4))).all()


@pytest.mark.usefixtures("quick")
def test_make_int8_keeps_the_rounded_network_where_the_taught_one_cannot_be_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounded = static.make_int8(fp32(), make_inputs(), STRICT)
    nodes = onnx.load_from_string(prepared()).graph.node
    wrong = {node.input[1]: np.zeros((1, 1), np.int8) for node in nodes if node.op_type == "Conv"}
    monkeypatch.setattr(static, "distill", lambda *_: Changes(whole=wrong))
    made = static.make_int8(fp32(), make_inputs(), STRICT, lambda: lessons(8))
    assert "not distilled: " in made.method
    assert made.model == rounded.model


@pytest.mark.usefixtures("quick")
def test_make_int8_says_why_a_graph_is_not_distilled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pipeline.export.int8.student.OPERATORS", {k: v for k, v in OPERATORS.items() if k != "Clip"}
    )
    made = static.make_int8(fp32(), make_inputs(), STRICT, lambda: lessons(8))
    assert "GPTQ, not distilled: its operators Clip cannot be trained" in made.method


def test_distill_stops_where_the_loss_is_no_number() -> None:
    broken = Changes(biases={name: np.full(shape, np.nan, np.float32) for name, shape in _biases().items()})
    with pytest.raises(UntrainableError, match="no longer a number"):
        distill(prepared(), quantised(), broken, lessons(2))


def _biases() -> dict[str, tuple[int, ...]]:
    document = onnx.load_from_string(prepared())
    shapes = {tensor.name: tuple(tensor.dims) for tensor in document.graph.initializer}
    return {node.input[2]: shapes[node.input[2]] for node in document.graph.node if node.op_type == "Conv"}


WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2]}
CASES = {
    "Add": ({}, [(6, 1, 1)]),
    "AveragePool": ({**WINDOW, "pads": [1, 1, 1, 1]}, []),
    "Cast": ({"to": TensorProto.INT32}, []),
    "Clip": ({}, [np.float32(-0.2), np.float32(0.5)]),
    "Concat": ({"axis": 1}, [(2, 6, 8, 8)]),
    "Conv": (
        {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]},
        [(4, 3, 3, 3), (4,)],
    ),
    "Div": ({}, [np.float32(3)]),
    "Flatten": ({"axis": 2}, []),
    "GlobalAveragePool": ({}, []),
    "HardSigmoid": ({"alpha": 1 / 6}, []),
    "HardSwish": ({}, []),
    "Identity": ({}, []),
    "MatMul": ({}, [(8, 5)]),
    "MaxPool": ({**WINDOW, "pads": [0, 0, 1, 1]}, []),
    "Mul": ({}, [(6, 1, 1)]),
    "ReduceMean": ({"keepdims": 0}, [np.array([2, 3])]),
    "Relu": ({}, []),
    "Reshape": ({}, [np.array([0, -1, 4])]),
    "Sigmoid": ({}, []),
    "Softmax": ({"axis": 1}, []),
    "Sub": ({}, [np.float32(0.5)]),
    "Transpose": ({"perm": [0, 3, 1, 2]}, []),
}


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_operators_compute_what_onnx_runtime_does(kind: str) -> None:
    rng = np.random.default_rng(0)
    shape = {"Gemm": (4, 6), "Squeeze": (2, 6, 1, 1)}.get(kind, (2, 6, 8, 8))
    value = rng.normal(size=shape).astype(np.float32)
    own = {
        "Gemm": ({"transB": 1, "alpha": 2.0, "beta": 0.5}, [(5, 6), (5,)]),
        "Squeeze": ({}, [np.array([2, 3])]),
    }
    attributes, others = {**CASES, **own}[kind]
    constants = [
        rng.normal(size=each).astype(np.float32) if isinstance(each, tuple) else np.asarray(each)
        for each in others
    ]
    names = [f"c{index}" for index in range(len(constants))]
    node = helper.make_node(kind, ["x", *names], ["y"], **attributes)
    out = TensorProto.INT32 if kind == "Cast" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(each, name) for each, name in zip(constants, names, strict=True)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    wanted = answer(model.SerializeToString(), [{"x": value}])
    tensors = [torch.from_numpy(each) for each in (value, *constants)]
    read = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    ours = OPERATORS[kind](tensors, read).numpy()
    assert ours.shape == wanted.shape
    assert np.abs(ours - wanted).max() < 1e-5
