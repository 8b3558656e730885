"""A TensorRT plan: built here, loaded through its wrapper, proven, and refused on another machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.export.plan_wrapper import wrap_plan
from pipeline.export.profiles import MAX_BATCH_SIZE, ranges_for
from pipeline.export.tensorrt import make_plan
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.verify.checks import failures
from serving.model.bundle import open_bundle
from serving.model.errors import ProviderError
from serving.model.inputs.registry import open_preprocessor
from serving.model.runtimes.onnx import OnnxSession
from serving.model.runtimes.plan import TENSORRT, Plan, require_match
from serving.model.runtimes.session import Precision
from tests.gpu.conftest import Measure

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tensorrt")]


@pytest.fixture(scope="session", params=["fp32", "fp16"])
def built(
    request: pytest.FixtureRequest, tensorrt: None, run: RunFolder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Plan]:
    """A plan in the bundle's folder, and the file beside it that wraps it."""
    precision: Precision = request.param
    source = (run.model if precision == "fp32" else request.getfixturevalue("half")).read_bytes()
    cache = tmp_path_factory.getbasetemp() / "timings"
    ranges = ranges_for(open_bundle(run.bundle).manifest.input)
    plan = make_plan(source, precision, run.bundle, f"model-tensorrt-{precision}", ranges, timing_cache=cache)
    wrapper = run.bundle / f"model-tensorrt-{precision}.onnx"
    atomic.write_bytes(wrapper, wrap_plan(source, plan))
    require_match(run.bundle, plan)
    assert cache.stat().st_size > 0
    return wrapper, plan


def test_receipt_of_a_plan_passes(built: tuple[Path, Plan], measure: Measure) -> None:
    wrapper, plan = built
    receipt = measure(wrapper, "onnxruntime-tensorrt", plan.precision)
    assert receipt.in_use.nodes == {TENSORRT: 1}
    assert failures(receipt) == []


def test_plan_refuses_a_batch_past_its_profile(built: tuple[Path, Plan], run: RunFolder) -> None:
    wrapper, plan = built
    preprocessor = open_preprocessor(open_bundle(run.bundle).manifest.input, run.bundle)
    session = OnnxSession(wrapper, runtime="onnxruntime-tensorrt", precision=plan.precision)
    feeds = preprocessor.collate([preprocessor.blank()] * MAX_BATCH_SIZE)
    assert session.run(feeds).shape[0] == MAX_BATCH_SIZE
    with pytest.raises(Exception, match=r"(?i)profile|shape|dimension|TensorRT"):
        session.run({name: np.concatenate([value, value[:1]]) for name, value in feeds.items()})


@pytest.mark.parametrize(
    ("field", "value"),
    [("compute_capability", "1.0"), ("tensorrt_version", "10.0.0.6"), ("gpu", "NVIDIA Other")],
)
def test_plan_is_refused_when_its_record_names_another_machine(
    built: tuple[Path, Plan], run: RunFolder, field: str, value: str
) -> None:
    other = Plan.model_validate(built[1].model_dump() | {field: value})
    with pytest.raises(ProviderError, match=value) as refused:
        require_match(run.bundle, other)
    assert refused.value.code == "plan_mismatch"


def test_plan_is_refused_when_its_bytes_change(
    built: tuple[Path, Plan], run: RunFolder, tmp_path: Path
) -> None:
    plan = built[1]
    (tmp_path / plan.file).write_bytes((run.bundle / plan.file).read_bytes() + b"\0")
    with pytest.raises(ProviderError, match="its bytes changed"):
        require_match(tmp_path, plan)
