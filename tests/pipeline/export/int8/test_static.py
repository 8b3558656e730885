from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifacts.limits import LIMITS
from pipeline.artifacts.sessions import answer
from pipeline.export.int8 import static
from pipeline.export.int8.harm import Quantised
from pipeline.export.int8.quantiser import WEIGHTED, layers_of, measure_ranges, preprocess, quantize_static
from pipeline.export.int8.static import make_int8
from pipeline.measures.divergence import kl_divergences

SIZE, CLASSES = 12, 3
NEAR = replace(LIMITS["int8"], min_cosine=0.9943, max_mean_kl=0.002)  # that one layer in fp32 keeps to
OUT_OF_REACH = replace(LIMITS["int8"], min_cosine=1.0)
ANY = replace(LIMITS["int8"], min_cosine=0.0, min_agreement=0.0, max_mean_kl=10.0)
Inputs = list[dict[str, np.ndarray]]


@functools.cache
def make_model(*, depthwise: bool = False) -> bytes:
    """Pixels to probabilities as graft exports them, a different class first for different inputs."""
    plain = onnx.load_from_string(build(np.zeros(CLASSES), 1, depthwise=depthwise))
    plain.graph.output[0].name = "logits"
    logits = np.concatenate([run(plain.SerializeToString(), feeds) for feeds in make_inputs()])
    return build(-logits.mean(axis=0), float(logits.std(axis=0).mean()), depthwise=depthwise)


def build(bias: np.ndarray, temperature: float, *, depthwise: bool) -> bytes:
    """Six convolutions with a residual, of which two may be depthwise."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(np.array(1 / 64, np.float32), "scale"),
        numpy_helper.from_array(np.array(-2, np.float32), "shift"),
        numpy_helper.from_array(np.array(temperature, np.float32), "temperature"),
        numpy_helper.from_array(rng.normal(size=(CLASSES, 8)).astype(np.float32), "head"),
        numpy_helper.from_array(bias.astype(np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], name="mul"),
        helper.make_node("Add", ["scaled", "shift"], ["shifted"], name="add"),
        helper.make_node("Transpose", ["shifted"], ["c0"], name="transpose", perm=[0, 3, 1, 2]),
    ]
    for index, channels in enumerate((3, 8, 8, 8, 8, 8)):
        group = 8 if depthwise and index in {2, 4} else 1
        kernel = rng.normal(size=(8, channels // group, 3, 3)) / np.sqrt(9 * channels / group) * 2
        kernel[3] *= 6 if index == 1 else 1  # a channel that leaves the others few of the next layer's levels
        tensors.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{index}"))
        nodes += [
            helper.make_node(
                "Conv",
                [f"c{index}", f"w{index}"],
                [f"x{index}"],
                name=f"conv{index}",
                pads=[1, 1, 1, 1],
                group=group,
            ),
            helper.make_node("Relu", [f"x{index}"], [f"c{index + 1}"], name=f"relu{index}"),
        ]
    nodes += [
        helper.make_node("Add", ["c6", "c1"], ["sum"], name="residual"),
        helper.make_node("Relu", ["sum"], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"], name="classifier", transB=1),
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"], name="div"),
        helper.make_node("Softmax", ["calibrated"], ["probabilities"], name="softmax"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], [probabilities], tensors),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    model.metadata_props.add(key="graft.labels", value='["a", "b", "c"]')
    return model.SerializeToString()


def make_inputs(count: int = 24) -> Inputs:
    pictures = np.random.default_rng(1).integers(0, 256, (count, 1, SIZE, SIZE, 3))
    return [
        {"image": (picture * (0.2 + 0.8 * index / count)).astype(np.uint8)}
        for index, picture in enumerate(pictures)
    ]


def run(model: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def float_layers(model: bytes) -> list[str]:
    """The layers with weights that are not quantised."""
    document = onnx.load_from_string(model)
    weights = {tensor.name for tensor in document.graph.initializer}
    return [
        node.name for node in document.graph.node if node.op_type in WEIGHTED and node.input[1] in weights
    ]


@pytest.fixture(scope="module")
def made() -> Quantised:
    return make_int8(make_model(), make_inputs(), ANY)


def test_make_int8_answers_nearly_as_before(made: Quantised) -> None:
    batch = {"image": np.concatenate([feeds["image"] for feeds in make_inputs()])}
    exact = run(make_model(), batch)
    assert exact.argmax(axis=1).std() > 0, "the model must tell the inputs apart"
    assert np.abs(made.answers - exact).max() < 0.1
    assert np.array_equal(made.answers, np.concatenate([run(made.model, feeds) for feeds in make_inputs()]))


def test_make_int8_leaves_the_pixels_the_first_convolution_and_the_classifier_in_fp32(
    made: Quantised,
) -> None:
    document = onnx.load_from_string(made.model)
    onnx.checker.check_model(document, full_check=True)
    assert float_layers(made.model) == ["conv0", "classifier"]
    fed = {name for node in document.graph.node if node.op_type == "QuantizeLinear" for name in node.input}
    assert not fed & {"float", "scaled", "shifted", "c0", "logits", "calibrated", "probabilities"}
    assert made.kept == ()


def test_quantize_static_leaves_sums_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each residual's sum is read by the next; whether it is rounded in between shows in deeper networks."""
    import onnxruntime.quantization as quantization

    asked: list[set[str]] = []
    inner = quantization.QDQQuantizer

    def record(*arguments: object, **options: object) -> object:
        asked.append(set(options["op_types_to_quantize"]))
        return inner(*arguments, **options)

    monkeypatch.setattr(quantization, "QDQQuantizer", record)
    prepared = preprocess(make_model())
    quantize_static(prepared, measure_ranges(prepared, make_inputs(4), "MinMax"))
    assert "Add" not in asked[0]
    assert {"Conv", "Gemm", "MatMul", "Relu"} <= asked[0]


def test_make_int8_uses_7_bits_for_weights(made: Quantised) -> None:
    tensors = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(made.model).graph.initializer
    }
    weights = {name: value for name, value in tensors.items() if value.dtype == np.int8 and value.ndim == 4}
    assert len(weights) == 5
    assert all(np.abs(value.astype(int)).max() <= 64 for value in weights.values())
    assert all(tensors[name.replace("_quantized", "_scale")].shape == (8,) for name in weights), (
        "one scale a channel"
    )


def test_make_int8_keeps_the_metadata_and_adds_none(made: Quantised) -> None:
    document = onnx.load_from_string(made.model)
    assert [(item.key, item.value) for item in document.metadata_props] == [
        ("graft.labels", '["a", "b", "c"]')
    ]
    assert [item.domain for item in document.opset_import] == [""]


@pytest.mark.parametrize("size", [2, 7])
def test_make_int8_answers_alike_in_batches_of_any_size(made: Quantised, size: int) -> None:
    assert onnx.load_from_string(made.model).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    batch = {"image": np.concatenate([feeds["image"] for feeds in make_inputs()[:size]])}
    assert np.abs(run(made.model, batch) - made.answers[:size]).max() < 1e-5


def test_make_int8_gives_the_same_bytes_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(static.METHODS, "Entropy")
    code = (
        "import sys, importlib.util as u; s = u.spec_from_file_location('t', sys.argv[1]);"
        " t = u.module_from_spec(s); s.loader.exec_module(t);"
        "del t.static.METHODS['Entropy'];"  # slow
        "sys.stdout.buffer.write(t.make_int8(t.make_model(), t.make_inputs(8), t.NEAR).model)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(static.__file__).parents[3])}
    other = subprocess.run(
        [sys.executable, "-c", code, __file__], capture_output=True, check=True, env=environment
    )
    assert other.stdout == make_int8(make_model(), make_inputs(8), NEAR).model, "and nothing else is printed"
    assert other.stderr == b""


def scaled(ranges: object, factor: float) -> object:
    from onnxruntime.quantization import CalibrationMethod, TensorsData

    pairs = {
        name: tuple(np.float32(edge * factor).reshape(()) for edge in ranges[name].range_value)
        for name in ranges.keys()  # noqa: SIM118
    }
    return TensorsData(CalibrationMethod.MinMax, pairs)


@pytest.mark.parametrize("best", ["MinMax", "Percentile", "Entropy"])
def test_make_int8_takes_the_calibration_that_changes_unseen_answers_least(
    best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Inputs = []

    def measure(prepared: bytes, inputs: Inputs, method: str) -> object:
        seen.extend(inputs)
        return scaled(
            measure_ranges(prepared, inputs, "MinMax"),
            1 if method == best else 0.1 if method == "Entropy" else 30,
        )

    monkeypatch.setattr(static, "measure_ranges", measure)
    inputs = make_inputs()
    assert make_int8(make_model(), inputs, ANY).method.endswith(f"ranges by {best}")
    assert {id(feeds) for feeds in seen} == {
        id(feeds) for index, feeds in enumerate(inputs) if index % static.JUDGED_EVERY
    }


@pytest.mark.parametrize("method", static.METHODS)
def test_measure_ranges_covers_what_the_activations_reach(method: str) -> None:
    ranges = measure_ranges(preprocess(make_model()), make_inputs(9), method)
    widest = measure_ranges(preprocess(make_model()), make_inputs(9), "MinMax")
    for name in ("c1", "x3", "active"):
        (low, high), (least, most) = ranges[name].range_value, widest[name].range_value
        assert least - 1e-6 <= low <= 0, name
        assert most / 4 < high <= most + 1e-6, name


def test_make_int8_puts_the_most_harmful_layer_back_when_the_limit_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(static, "METHODS", {"MinMax": {}})
    model, inputs = make_model(), make_inputs()
    made = make_int8(model, inputs, NEAR)
    assert len(made.kept) == 1, "a quarter of five"
    assert float_layers(made.model) == sorted(
        ["conv0", *made.kept, "classifier"], key=[f"conv{i}" for i in range(6)].__add__(["classifier"]).index
    )
    prepared = preprocess(model)
    ranges = measure_ranges(
        prepared, [feeds for index, feeds in enumerate(inputs) if index % static.JUDGED_EVERY], "MinMax"
    )
    exact = answer(model, inputs)
    left = {
        name: kl_divergences(exact, answer(quantize_static(prepared, ranges, [name]), inputs)).mean()
        for name in layers_of(prepared)
    }
    assert made.kept == (min(left, key=left.__getitem__),)


def test_make_int8_says_so_and_keeps_no_layer_where_that_would_be_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(static, "METHODS", {"MinMax": {}})
    made = make_int8(make_model(), make_inputs(), OUT_OF_REACH)
    assert made.kept == ()
    assert made.method.endswith("MinMax; no quarter of its layers in fp32 keeps to the limits")


def test_make_int8_quantises_a_depthwise_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "METHODS", {"MinMax": {}})
    made = make_int8(make_model(depthwise=True), make_inputs(8), ANY)
    assert float_layers(made.model) == ["conv0", "classifier"]
    assert np.isfinite(made.answers).all()


def test_make_int8_leaves_no_file_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make_int8(make_model(), make_inputs(1), ANY)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
