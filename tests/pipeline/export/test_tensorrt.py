"""Profiles, wrapper and the builder's calls. The builder is a stand-in; `tests/gpu` builds real plans."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import GraftError
from pipeline.export import tensorrt as module
from pipeline.export.plan_wrapper import wrap_plan
from pipeline.export.profiles import MAX_BATCH_SIZE, Range, compute_profiles, ranges_for
from pipeline.export.tensorrt import build_plan, make_plan, require_tensorrt
from serving.model.bundle import open_bundle
from serving.model.errors import ProviderError
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.runtimes.plan import Plan
from tests.serving.model.runtimes.test_plan import HERE, describe

IMAGE = {"image": (TensorProto.UINT8, ("batch", 8, 8, 3))}
TEXT = {
    "input_ids": (TensorProto.INT64, ("batch", "sequence")),
    "attention_mask": (TensorProto.INT64, ("batch", "sequence")),
}
BATCH = {"batch": Range(1, 1, 32)}


def make_model(inputs: dict[str, tuple[int, tuple[object, ...]]], weights: type = np.float32) -> bytes:
    """A graph with these inputs, of which the first is used, and weights of a type."""
    shapes = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    first = next(iter(inputs))
    nodes = [
        helper.make_node("Cast", [first], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("ReduceMean", ["flat", "axes"], ["mean"], keepdims=1),
        helper.make_node("Cast", ["weight"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["mean", "wide"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
        numpy_helper.from_array(np.array([[1, 2]], weights), "weight"),
    ]
    graph = helper.make_graph(nodes, "graph", shapes, [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"graft.name": "tiny", "graft.labels": '["a", "b"]'})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def plan_of(source: bytes, **changes: object) -> Plan:
    return describe(onnx_sha256=hashlib.sha256(source).hexdigest(), **changes)


def ends(model: onnx.ModelProto) -> list[bytes]:
    return [
        value.SerializeToString(deterministic=True) for value in [*model.graph.input, *model.graph.output]
    ]


image_spec = ImageInputSpec.model_construct(modality="image")
text_spec = TextInputSpec.model_construct(modality="text", max_tokens=20)


def test_ranges_of_pictures_are_of_the_batch_alone() -> None:
    assert ranges_for(image_spec) == {"batch": Range(1, 1, MAX_BATCH_SIZE)}


@pytest.mark.parametrize(("typical", "expected"), [(None, 10), (7, 7), (500, 20)])
def test_ranges_of_texts_reach_up_to_the_longest(typical: int | None, expected: int) -> None:
    assert ranges_for(text_spec, typical=typical)["sequence"] == Range(1, expected, 20)


@pytest.mark.parametrize("lengths", [(0, 1, 2), (2, 1, 3), (1, 4, 3), (-1, -1, -1)])
def test_range_is_refused_when_it_is_out_of_order(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(GraftError, match="0 < min <= opt <= max"):
        Range(*lengths)


def test_profile_of_an_image_keeps_what_is_fixed() -> None:
    (profile,) = compute_profiles(make_model(IMAGE), ranges_for(image_spec))
    assert (profile.input, profile.min, profile.opt, profile.max) == (
        "image",
        (1, 8, 8, 3),
        (1, 8, 8, 3),
        (32, 8, 8, 3),
    )


def test_profiles_of_a_text_are_the_same_for_ids_and_mask() -> None:
    ids, mask = compute_profiles(make_model(TEXT), ranges_for(text_spec))
    assert (ids.input, ids.min, ids.opt, ids.max) == ("input_ids", (1, 1), (1, 10), (32, 20))
    assert mask == ids.model_copy(update={"input": "attention_mask"})


@pytest.mark.slow
@pytest.mark.parametrize("run", ["tiny_run", "text_run"])
def test_profiles_and_wrapper_suit_what_a_run_exports(run: str, request: pytest.FixtureRequest) -> None:
    bundle = open_bundle(request.getfixturevalue(run) / "bundle")
    source = bundle.path_of(bundle.artifact("onnx-fp32")).read_bytes()
    profiles = compute_profiles(source, ranges_for(bundle.manifest.input))
    assert [profile.input for profile in profiles] == [
        value.name for value in onnx.load_from_string(source).graph.input
    ]
    assert all(
        profile.min[0] == profile.opt[0] == 1 and profile.max[0] == MAX_BATCH_SIZE for profile in profiles
    )
    onnx.checker.check_model(
        onnx.load_from_string(wrap_plan(source, plan_of(source, profiles=profiles))), full_check=True
    )


@given(st.lists(st.tuples(*[st.integers(1, 64)] * 3).map(sorted), min_size=1, max_size=4), st.integers(1, 9))
def test_profile_holds_the_lengths_that_were_given(lengths: list[list[int]], fixed: int) -> None:
    ranges = {f"axis{index}": Range(*triple) for index, triple in enumerate(lengths)} | BATCH
    source = make_model(
        {"x": (TensorProto.FLOAT, ("batch", fixed, *(name for name in ranges if name != "batch")))}
    )
    (profile,) = compute_profiles(source, ranges)
    assert list(zip(profile.min, profile.opt, profile.max, strict=True)) == [
        (1, 1, 32),
        (fixed,) * 3,
        *map(tuple, lengths),
    ]


def test_profiles_are_refused_when_axes_have_no_range() -> None:
    with pytest.raises(GraftError) as refused:
        compute_profiles(make_model(TEXT | {"extra": (TensorProto.FLOAT, ("batch", None))}), BATCH)
    for part in (
        "axis 1 of input_ids (sequence)",
        "axis 1 of attention_mask (sequence)",
        "axis 1 of extra (without a name)",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize("inputs", [IMAGE, TEXT])
def test_wrapper_has_inputs_outputs_and_metadata_of_its_source(
    inputs: dict[str, tuple[int, tuple[object, ...]]],
) -> None:
    source = make_model(inputs)
    plan = plan_of(source)
    wrapped = onnx.load_from_string(wrap_plan(source, plan))
    onnx.checker.check_model(wrapped, full_check=True)
    assert ends(wrapped) == ends(onnx.load_from_string(source))
    metadata = {item.key: item.value for item in wrapped.metadata_props}
    assert Plan.model_validate_json(metadata.pop("graft.plan")) == plan
    assert metadata == {"graft.name": "tiny", "graft.labels": '["a", "b"]'}


def test_wrapper_is_one_node_that_names_the_plan() -> None:
    source = make_model(TEXT)
    (node,) = onnx.load_from_string(wrap_plan(source, plan_of(source))).graph.node
    assert (node.op_type, node.domain, list(node.input)) == (
        "EPContext",
        "com.microsoft",
        ["input_ids", "attention_mask"],
    )
    assert {item.name: helper.get_attribute_value(item) for item in node.attribute} == {
        "main_context": 1,
        "embed_mode": 0,
        "ep_cache_context": b"model.plan",
        "ep_sdk_version": b"10.14.1.48",
        "hardware_architecture": b"90",
        "source": b"TensorrtExecutionProvider",
    }


def test_wrapper_is_understood_by_onnxruntime_and_left_to_tensorrt() -> None:
    source = make_model(IMAGE)
    with pytest.raises(Exception, match="generated by 'TensorrtExecutionProvider' is not compatible"):
        ort.InferenceSession(wrap_plan(source, plan_of(source)), providers=["CPUExecutionProvider"])


def test_wrapper_is_the_same_bytes_when_made_twice() -> None:
    source = make_model(IMAGE)
    assert wrap_plan(source, plan_of(source)) == wrap_plan(source, plan_of(source))
    assert wrap_plan(source, plan_of(source)) != wrap_plan(source, plan_of(source, sha256="2" * 64))


def test_wrapper_is_refused_when_the_plan_is_of_another_source() -> None:
    with pytest.raises(GraftError, match="another ONNX file"):
        wrap_plan(make_model(IMAGE), plan_of(make_model(TEXT)))


def test_require_tensorrt_says_everything_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ProviderError("provider_missing", "libcuda.so.1 is not here.")

    monkeypatch.setattr(module, "read_machine", fail)
    monkeypatch.setattr("pipeline.machine.extras._is_found", lambda _: False)
    with pytest.raises(GraftError) as refused:
        require_tensorrt()
    for part in ("cannot be built here", "libcuda.so.1", "pip install 'graft-ml[tensorrt]'"):
        assert part in str(refused.value)


class FakeTensorRT(SimpleNamespace):
    """The used part of the module `tensorrt`, after the docstrings of 10.14; it records what it is asked."""

    def __init__(self, *, readable: bool = True, builds: bool = True, stale_cache: bytes = b"stale") -> None:
        def shapes(name: str, *lengths: tuple[int, ...]) -> None:
            calls.setdefault("shapes", {})[name] = lengths

        def attach(cache: SimpleNamespace, ignore_mismatch: bool) -> bool:
            calls["cache"] = cache.content
            return not ignore_mismatch

        def build(network: int, config: object) -> bytes | None:
            calls["network"] = network
            calls["logger"].log(severity.ERROR, "no kernel fits")
            calls["logger"].log(severity.INFO, "chatter")
            return b"kernels" if builds else None

        def start(logger: object) -> SimpleNamespace:
            calls["logger"] = logger
            return SimpleNamespace(
                create_network=lambda flags: flags,
                create_builder_config=lambda: SimpleNamespace(
                    clear_flag=lambda flag: calls.setdefault("cleared", []).append(flag),
                    add_optimization_profile=lambda _: 0,
                    create_timing_cache=lambda content: (
                        None
                        if content == stale_cache
                        else SimpleNamespace(content=content, serialize=lambda: b"timings")
                    ),
                    set_timing_cache=attach,
                ),
                create_optimization_profile=lambda: SimpleNamespace(set_shape=shapes),
                build_serialized_network=build,
            )

        calls: dict[str, object] = {}
        severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)
        errors = [
            SimpleNamespace(
                node_operator=lambda op=op: op,
                node_name=lambda op=op: f"node_{op}",
                desc=lambda: "not supported",
            )
            for op in ("Det", "Unique")
        ]
        super().__init__(
            calls=calls,
            Builder=start,
            OnnxParser=lambda *_: SimpleNamespace(
                parse=lambda _: readable, num_errors=2, get_error=errors.__getitem__
            ),
            ILogger=type("ILogger", (), {"Severity": severity}),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            BuilderFlag=SimpleNamespace(TF32="TF32"),
        )


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTensorRT]:
    """Put a stand-in for TensorRT, on a machine that has it, in place."""

    def put(**behaviour: object) -> FakeTensorRT:
        trt = FakeTensorRT(**behaviour)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        monkeypatch.setattr(module, "read_machine", lambda: HERE)
        monkeypatch.setattr(module, "require", lambda _: None)
        return trt

    return put


@pytest.mark.parametrize(
    ("precision", "weights", "cleared"), [("fp32", np.float32, ["TF32"]), ("fp16", np.float16, None)]
)
def test_build_plan_is_strongly_typed_and_keeps_tf32_off_in_fp32(
    install: Callable[..., FakeTensorRT], precision: str, weights: type, cleared: list[str] | None
) -> None:
    trt = install()
    source = make_model(IMAGE, weights)
    assert build_plan(source, precision, compute_profiles(source, BATCH)) == b"kernels"
    assert trt.calls["network"] == 1 << 1
    assert trt.calls["shapes"] == {"image": ((1, 8, 8, 3), (1, 8, 8, 3), (32, 8, 8, 3))}
    assert trt.calls.get("cleared") == cleared


@pytest.mark.parametrize(
    ("precision", "weights"), [("fp16", np.float32), ("fp32", np.float16), ("int8", np.float32)]
)
def test_build_plan_refuses_when_the_file_is_of_another_precision(
    install: Callable[..., FakeTensorRT], precision: str, weights: type
) -> None:
    install()
    source = make_model(IMAGE, weights)
    with pytest.raises(GraftError, match=precision):
        build_plan(source, precision, compute_profiles(source, BATCH))


def test_build_plan_says_every_error_of_the_parser(install: Callable[..., FakeTensorRT]) -> None:
    install(readable=False)
    with pytest.raises(
        GraftError, match="Det `node_Det`: not supported; Unique `node_Unique`: not supported"
    ):
        build_plan(make_model(IMAGE), "fp32", compute_profiles(make_model(IMAGE), BATCH))


def test_build_plan_says_the_builders_errors_and_nothing_else(install: Callable[..., FakeTensorRT]) -> None:
    install(builds=False)
    with pytest.raises(GraftError, match=r"cannot build a plan: no kernel fits$"):
        build_plan(make_model(IMAGE), "fp32", compute_profiles(make_model(IMAGE), BATCH))


@pytest.mark.parametrize(("before", "used"), [(None, b""), (b"fresh", b"fresh"), (b"stale", b"")])
def test_build_plan_keeps_its_timings_and_begins_anew_when_they_do_not_fit(
    install: Callable[..., FakeTensorRT], tmp_path: Path, before: bytes | None, used: bytes
) -> None:
    trt, cache = install(), tmp_path / "timings"
    if before:
        cache.write_bytes(before)
    build_plan(make_model(IMAGE), "fp32", compute_profiles(make_model(IMAGE), BATCH), cache)
    assert trt.calls["cache"] == used
    assert cache.read_bytes() == b"timings"


def test_make_plan_writes_the_plan_and_records_the_machine(
    install: Callable[..., FakeTensorRT], tmp_path: Path
) -> None:
    install()
    source = make_model(TEXT, np.float16)
    plan = make_plan(source, "fp16", tmp_path, "model-tensorrt-fp16", ranges_for(text_spec))
    assert (tmp_path / plan.file).read_bytes() == b"kernels"
    assert plan.file == "model-tensorrt-fp16.plan"
    assert plan.sha256 == hashlib.sha256(b"kernels").hexdigest()
    assert plan.onnx_sha256 == hashlib.sha256(source).hexdigest()
    assert (plan.precision, plan.flags) == ("fp16", ("strongly_typed",))
    assert json.loads(plan.model_dump_json())["tensorrt_version"] == HERE.tensorrt_version
    assert wrap_plan(source, plan)


def test_make_plan_leaves_nothing_when_tensorrt_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.machine.extras._is_found", lambda _: False)
    with pytest.raises(GraftError, match="cannot be built here"):
        make_plan(make_model(IMAGE), "fp32", tmp_path, "model", BATCH)
    assert list(tmp_path.iterdir()) == []
