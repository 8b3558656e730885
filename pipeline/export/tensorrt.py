"""TensorRT plans, built from an ONNX file for the machine that they are built on."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import GraftError
from pipeline.export.profiles import Range, compute_profiles
from pipeline.files import atomic
from pipeline.machine.extras import require
from serving.model.errors import ProviderError
from serving.model.runtimes.plan import Plan, Profile, read_machine
from serving.model.runtimes.session import Precision

log = logging.getLogger("graft")
# How a plan of each precision is built. A strongly typed network computes in the types of its file; a weakly
# typed one rounds where it likes, and can be wrong (https://github.com/NVIDIA/TensorRT-LLM/issues/3223).
FLAGS: Mapping[Precision, tuple[str, ...]] = {
    "fp32": ("strongly_typed", "no_tf32"),
    "fp16": ("strongly_typed",),
}


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
        source: The bytes of the ONNX file to build from, with weights of that very precision.
        precision: ``fp32`` or ``fp16``.
        folder: The folder that the plan is written to, beside the file that wraps it.
        name: Name of the plan, without the suffix.
        ranges: The lengths of each dynamic axis, as :func:`compute_profiles` takes them.
        timing_cache: The file of measured kernels, as :func:`build_plan` takes it.

    Returns:
        The record of the plan and of the machine that it runs on.

    Raises:
        GraftError: TensorRT or a GPU is missing, or the file cannot become a plan; the message gives every
            reason.
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
    """Build a plan for this machine's GPU from an ONNX file, which takes seconds to minutes.

    Args:
        source: The bytes of the ONNX file, whose types the plan keeps.
        precision: ``fp32``, which also keeps TF32 off, or ``fp16``.
        profiles: The profile of every input.
        timing_cache: A file that keeps what is measured of the kernels, so that the next build is faster. It
            is made where there is none; None, the default, keeps nothing.

    Returns:
        The bytes of the plan.

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
    """Raise GraftError unless a file's weights are of a precision that plans are built in.

    A strongly typed network computes in the types of its file: from a file of another precision, the plan
    would be of that other precision.
    """
    import onnx

    if precision not in FLAGS:
        raise GraftError(f"TensorRT plans are built in {' or '.join(FLAGS)} here, not in {precision}")
    weights = onnx.load_from_string(source).graph.initializer
    has_half_weights = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    if has_half_weights != (precision == "fp16"):
        raise GraftError(
            f"a TensorRT plan in {precision} is built from a file with {precision} weights; "
            "this one has others"
        )


def _logger(trt: Any, errors: list[str]) -> Any:  # noqa: ANN401 - a module, and its ILogger
    """Return a logger that adds to ``errors``; TensorRT gives the reasons of a failed build nowhere else."""
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
    """Return what a parser could not read, each with the operator and the name of its node."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"{error.node_operator()} `{error.node_name()}`: {error.desc()}" for error in errors]


def _configure(
    trt: Any,  # noqa: ANN401 - the module `tensorrt`
    builder: Any,  # noqa: ANN401 - trt.Builder
    precision: Precision,
    profiles: Sequence[Profile],
) -> Any:  # noqa: ANN401 - trt.IBuilderConfig
    """Return the configuration of a build: its precision, and one optimisation profile for all inputs."""
    config = builder.create_builder_config()
    if "no_tf32" in FLAGS[precision]:
        config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for profile in profiles:
        shapes.set_shape(profile.input, profile.min, profile.opt, profile.max)
    if config.add_optimization_profile(shapes) < 0:
        raise GraftError(f"TensorRT refuses the shapes {', '.join(map(str, profiles))}")
    return config


def _attach_cache(
    config: Any,  # noqa: ANN401 - trt.IBuilderConfig
    path: Path | None,
) -> Any:  # noqa: ANN401 - trt.ITimingCache
    """Use the kernels' timings in a file if they are of this GPU and this TensorRT; else begin anew.

    Returns:
        The timing cache that the build will read and add to.
    """
    for content in (path.read_bytes() if path and path.is_file() else b"", b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    raise GraftError("TensorRT takes no timing cache, not even an empty one")
