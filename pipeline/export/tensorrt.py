"""TensorRT plans: built here from an ONNX file, and wrapped as an ONNX file that ONNX Runtime loads."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.machine.extras import require
from pipeline.modalities.registry import find_modality
from serving.model.errors import ProviderError
from serving.model.inputs.kind import InputSpec
from serving.model.runtimes.plan import TENSORRT, Plan, Profile, read_machine
from serving.model.runtimes.session import Precision

log = logging.getLogger("graft")
MAX_BATCH_SIZE = 32
CONTEXT_DOMAIN = "com.microsoft"
# How a plan of each precision is built. A strongly typed network computes in the types of its file; a weakly
# typed one rounds where it likes, and can be wrong (https://github.com/NVIDIA/TensorRT-LLM/issues/3223).
FLAGS: Mapping[Precision, tuple[str, ...]] = {
    "fp32": ("strongly_typed", "no_tf32"),
    "fp16": ("strongly_typed",),
}


@dataclass(frozen=True)
class Range:
    """The lengths of one dynamic axis.

    Attributes:
        min: The smallest.
        opt: The one that the kernels are chosen for.
        max: The largest.

    Raises:
        GraftError: They are not in that order, or not positive.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.opt <= self.max:
            raise GraftError(
                f"the lengths of an axis must be 0 < min <= opt <= max, not {self.min}, {self.opt}, {self.max}"
            )


def ranges_for(spec: InputSpec, *, typical: int | None = None) -> dict[str, Range]:
    """The lengths that an input may have, by the names of the graph's dynamic axes.

    Args:
        spec: The bundle's input.
        typical: The length that a plan is tuned for along the axes other than the batch, such as the tokens
            of a text; by default half of the longest.
    """
    longest = find_modality(spec.modality).load().longest_axes(spec)
    others = {axis: Range(1, min(typical or (most + 1) // 2, most), most) for axis, most in longest.items()}
    return {"batch": Range(1, 1, MAX_BATCH_SIZE), **others}


def compute_profiles(source: bytes, ranges: Mapping[str, Range]) -> tuple[Profile, ...]:
    """The shapes of every input of a graph.

    Args:
        source: An ONNX file.
        ranges: The lengths of each dynamic axis, by its name; a name that the graph does not have is ignored.

    Raises:
        GraftError: Axes without a range, or without a name; the message lists every one.
    """
    inputs = _load(source).graph.input
    unknown = [
        f"axis {axis} of {value.name} ({name or 'without a name'})"
        for value in inputs
        for axis, name in _free(value, ranges)
    ]
    if unknown:
        raise GraftError(
            f"a TensorRT plan needs the lengths of every dynamic axis; there are none for {', '.join(unknown)}"
        )
    return tuple(_profile(value, ranges) for value in inputs)


def _free(value: Any, ranges: Mapping[str, Range]) -> Iterator[tuple[int, str]]:  # noqa: ANN401 - onnx.ValueInfoProto
    """Index and name of the axes of an input that have neither a length nor a range."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if not dim.HasField("dim_value") and dim.dim_param not in ranges:
            yield axis, dim.dim_param


def _profile(value: Any, ranges: Mapping[str, Range]) -> Profile:  # noqa: ANN401 - onnx.ValueInfoProto
    dims = value.type.tensor_type.shape.dim
    lengths = [
        Range(*[dim.dim_value] * 3) if dim.HasField("dim_value") else ranges[dim.dim_param] for dim in dims
    ]
    smallest, typical, largest = zip(
        *((length.min, length.opt, length.max) for length in lengths), strict=True
    )
    return Profile(input=value.name, min=smallest, opt=typical, max=largest)


def make_plan(
    source: bytes,
    precision: Precision,
    folder: Path,
    name: str,
    ranges: Mapping[str, Range],
    *,
    timing_cache: Path | None = None,
) -> Plan:
    """Build ``NAME.plan`` in a folder, for this machine and no other.

    Args:
        source: The ONNX file to build from, with weights of that very precision.
        precision: ``fp32`` or ``fp16``.
        folder: Where the plan goes, beside the file that wraps it.
        name: Its name without the suffix.
        ranges: As :func:`compute_profiles` takes them.
        timing_cache: As :func:`build_plan` takes it.

    Raises:
        GraftError: TensorRT or a GPU is missing, or the file cannot become a plan; the message says all of
            why.
    """
    require_tensorrt()
    profiles = compute_profiles(source, ranges)
    content = build_plan(source, precision, profiles, timing_cache)
    file = f"{name}.plan"
    atomic.write_bytes(folder / file, content)
    return Plan(
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        onnx_sha256=hashlib.sha256(source).hexdigest(),
        precision=precision,
        profiles=profiles,
        flags=FLAGS[precision],
        **asdict(read_machine()),
    )


def require_tensorrt() -> None:
    """Raise GraftError, with everything that is missing in one message, unless plans can be built here."""
    missing = []
    for check in (read_machine, lambda: require("tensorrt")):
        try:
            check()
        except (ProviderError, GraftError) as error:
            missing.append(str(error))
    if missing:
        raise GraftError(f"TensorRT plans cannot be built here: {' Also: '.join(missing)}")


def build_plan(
    source: bytes, precision: Precision, profiles: Sequence[Profile], timing_cache: Path | None = None
) -> bytes:
    """Build a plan for this machine's GPU, from an ONNX file. Takes seconds to minutes.

    Args:
        source: The ONNX file, whose types the plan keeps.
        precision: ``fp32``, which also keeps TF32 off, or ``fp16``.
        profiles: Of every input.
        timing_cache: A file that keeps what is measured of the kernels, so that the next build is faster;
            made where there is none.

    Raises:
        GraftError: The file's weights are of another precision, or TensorRT refuses it; the message holds
            every reason that it gives.
    """
    _require_precision(source, precision)
    import tensorrt as trt  # after `require_tensorrt`: the libraries must be onnxruntime's, which come first

    errors: list[str] = []
    logger = _logger(trt, errors)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)  # it owns the weights, and so must outlive the build
    if not parser.parse(source):
        raise GraftError(
            f"TensorRT cannot read the ONNX file: {'; '.join(_parser_errors(parser)) or '; '.join(errors)}"
        )
    config = _configure(trt, builder, precision, profiles)
    cache = _attach_cache(config, timing_cache)
    start = time.perf_counter()
    log.info("export: building a TensorRT plan, %s", precision)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise GraftError(f"TensorRT cannot build a plan: {'; '.join(errors) or 'it gives no reason'}")
    content = bytes(built)
    log.info(
        "export: TensorRT plan, %s, %.1f MB, built in %.0f s",
        precision,
        len(content) / 1e6,
        time.perf_counter() - start,
    )
    if timing_cache is not None:
        atomic.write_bytes(timing_cache, bytes(cache.serialize()))
    return content


def _require_precision(source: bytes, precision: Precision) -> None:
    """The types of a strongly typed network are its file's, so that of another file the plan would be of another precision."""
    from onnx import TensorProto

    if precision not in FLAGS:
        raise GraftError(f"TensorRT plans are built in {' or '.join(FLAGS)} here, not in {precision}")
    halved = any(tensor.data_type == TensorProto.FLOAT16 for tensor in _load(source).graph.initializer)
    if halved != (precision == "fp16"):
        raise GraftError(
            f"a TensorRT plan in {precision} is built from a file with {precision} weights; this one has others"
        )


def _logger(trt: Any, errors: list[str]) -> Any:  # noqa: ANN401 - a module, and its ILogger
    """A logger that keeps the errors; TensorRT gives the reasons of a failed build nowhere else."""
    serious = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc] # a base that cannot be imported at the top
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401 - trt.ILogger.Severity
            if severity in serious:
                errors.append(message)
            log.debug("tensorrt: %s", message)

    return Logger()


def _parser_errors(parser: Any) -> list[str]:  # noqa: ANN401 - trt.OnnxParser
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"{error.node_operator()} `{error.node_name()}`: {error.desc()}" for error in found]


def _configure(trt: Any, builder: Any, precision: Precision, profiles: Sequence[Profile]) -> Any:  # noqa: ANN401 - a module, its Builder and its IBuilderConfig
    config = builder.create_builder_config()
    if "no_tf32" in FLAGS[precision]:
        config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for profile in profiles:
        shapes.set_shape(profile.input, profile.min, profile.opt, profile.max)
    if config.add_optimization_profile(shapes) < 0:
        raise GraftError(f"TensorRT refuses the shapes {', '.join(map(str, profiles))}")
    return config


def _attach_cache(config: Any, path: Path | None) -> Any:  # noqa: ANN401 - trt.IBuilderConfig and trt.ITimingCache
    """Use what was measured before, if it was on a GPU and a TensorRT such as these; else begin anew."""
    for content in (path.read_bytes() if path and path.is_file() else b"", b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    raise GraftError("TensorRT takes no timing cache, not even an empty one")


def wrap_plan(source: bytes, plan: Plan) -> bytes:
    """An ONNX file of one node that stands for a plan beside it, with inputs, outputs and metadata of the file that it was built from.

    ONNX Runtime finds the plan only below the folder of this file, which must be loaded by its path.

    Args:
        source: The ONNX file that the plan was built from.
        plan: Its record, which goes into the metadata as ``graft.plan``.

    Returns:
        The file's bytes, the same for the same arguments.

    Raises:
        GraftError: The plan was built from another file.
    """
    if hashlib.sha256(source).hexdigest() != plan.onnx_sha256:
        raise GraftError(f"{plan.file}: was built from another ONNX file. Export again.")
    from onnx import helper

    document = _load(source)
    inputs, outputs = list(document.graph.input), list(document.graph.output)
    node = helper.make_node(
        "EPContext",
        [value.name for value in inputs],
        [value.name for value in outputs],
        name="plan",
        domain=CONTEXT_DOMAIN,
        main_context=1,
        embed_mode=0,
        ep_cache_context=plan.file,
        ep_sdk_version=plan.tensorrt_version,
        hardware_architecture=plan.compute_capability.replace(
            ".", ""
        ),  # as ONNX Runtime writes it: 90 for 9.0
        source=TENSORRT,
    )
    wrapped = helper.make_model(
        helper.make_graph([node], "plan", inputs, outputs),
        opset_imports=[*document.opset_import, helper.make_opsetid(CONTEXT_DOMAIN, 1)],
        ir_version=document.ir_version,
    )
    metadata = {item.key: item.value for item in document.metadata_props} | {
        "graft.plan": plan.model_dump_json()
    }
    helper.set_model_props(wrapped, dict(sorted(metadata.items())))
    return wrapped.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _load(source: bytes) -> Any:  # noqa: ANN401 - onnx.ModelProto
    import onnx

    return onnx.load_from_string(source)
