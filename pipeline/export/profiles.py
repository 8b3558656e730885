"""The shapes that a TensorRT plan is built for: lengths of dynamic axes, and profiles of a graph's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import GraftError
from pipeline.modalities.registry import find_modality
from serving.model.inputs.kind import InputSpec
from serving.model.runtimes.plan import Profile

MAX_BATCH_SIZE = 32


@dataclass(frozen=True)
class Range:
    """The lengths of one dynamic axis.

    Attributes:
        min: The smallest length, 1 or more.
        opt: The length that the kernels are chosen for.
        max: The largest length.

    Raises:
        GraftError: The lengths are not in that order, or not positive.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.opt <= self.max:
            raise GraftError(
                "the lengths of an axis must be 0 < min <= opt <= max, "
                f"not {self.min}, {self.opt}, {self.max}"
            )


def ranges_for(spec: InputSpec, *, typical: int | None = None) -> dict[str, Range]:
    """Return the lengths that an input may have, by the names of the graph's dynamic axes.

    Args:
        spec: The spec of the bundle's input.
        typical: The length that a plan is tuned for along the axes other than the batch, such as the number
            of tokens of a text; by default half of the longest.
    """
    longest = find_modality(spec.modality).load().longest_axes(spec)
    others = {axis: Range(1, min(typical or (most + 1) // 2, most), most) for axis, most in longest.items()}
    return {"batch": Range(1, 1, MAX_BATCH_SIZE), **others}


def compute_profiles(source: bytes, ranges: Mapping[str, Range]) -> tuple[Profile, ...]:
    """Compute the smallest, the typical and the largest shape of every input of a graph.

    Args:
        source: The bytes of an ONNX file.
        ranges: The lengths of each dynamic axis, by its name; a name that the graph does not have is ignored.

    Raises:
        GraftError: Axes have no range, or no name; the message lists every one.
    """
    import onnx

    inputs = onnx.load_from_string(source).graph.input
    unknown = [
        f"axis {axis} of {value.name} ({name or 'without a name'})"
        for value in inputs
        for axis, name in _axes_without_range(value, ranges)
    ]
    if unknown:
        raise GraftError(
            "a TensorRT plan needs the lengths of every dynamic axis; "
            f"there are none for {', '.join(unknown)}"
        )
    return tuple(_profile(value, ranges) for value in inputs)


def _axes_without_range(
    value: Any,  # noqa: ANN401 - onnx.ValueInfoProto
    ranges: Mapping[str, Range],
) -> Iterator[tuple[int, str]]:
    """Yield index and name of the axes of an input that have neither a fixed length nor a range."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if not dim.HasField("dim_value") and dim.dim_param not in ranges:
            yield axis, dim.dim_param


def _profile(value: Any, ranges: Mapping[str, Range]) -> Profile:  # noqa: ANN401 - onnx.ValueInfoProto
    """Return the profile of an input, every axis of which has a fixed length or a range."""
    dims = value.type.tensor_type.shape.dim
    lengths = [
        Range(*[dim.dim_value] * 3) if dim.HasField("dim_value") else ranges[dim.dim_param] for dim in dims
    ]
    smallest, typical, largest = zip(
        *((length.min, length.opt, length.max) for length in lengths), strict=True
    )
    return Profile(input=value.name, min=smallest, opt=typical, max=largest)
