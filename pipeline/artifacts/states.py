"""The state of each artifact: the record that ``verify`` leaves for people, programs and later commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.errors import GraftError
from pipeline.files import atomic
from serving.model.records import Speedup


class Basis(BaseModel):
    """What a comparison of speed holds for.

    Attributes:
        files: SHA-256, in hexadecimal, of each of the artifact's files.
        source_files: The same of ``onnx-fp32``.
        cpu: Name of the CPU.
        gpu: Name of the GPU, or None if neither artifact runs on one.
        runtimes: The libraries that ran ``onnx-fp32`` and the artifact, with their versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...]
    source_files: tuple[str, ...]
    cpu: str
    gpu: str | None
    runtimes: tuple[str, str]


class Decided(BaseModel):
    """The last comparison of an artifact's speed that was conclusive.

    Attributes:
        faster: Whether the artifact is at least ``bound`` times as fast as ``onnx-fp32``.
        bound: The speed that was decided about.
        speedup: The speed that was measured, whose interval leaves out the bound.
        basis: What it holds for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    faster: bool
    bound: float
    speedup: Speedup
    basis: Basis


class State(BaseModel):
    """The state of an artifact after its verification.

    Attributes:
        published: Whether it is in the bundle.
        why: Summary of what was measured, or the reason why it is not published.
        speedup: Its speed in times that of ``onnx-fp32``, or None if it was not run.
        decided: The comparison by which it is fast enough or not, of this verification or an earlier one;
            None if none was conclusive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    published: bool
    why: str
    speedup: Speedup | None = None
    decided: Decided | None = None

    def to_text(self) -> str:
        """Return one line for people."""
        return f"published: {self.why}" if self.published else f"not published, because {self.why}"


States = Mapping[str, State]
"""The state of each artifact, by its name."""

_STATES: TypeAdapter[dict[str, State]] = TypeAdapter(dict[str, State])


def write_states(path: Path, states: States) -> None:
    """Write the states as JSON, in one step."""
    atomic.write_json(path, _STATES.dump_python(dict(states), mode="json"))


def read_states(path: Path) -> States:
    """Read the states.

    Raises:
        GraftError: The file is missing, or not of this release.
    """
    try:
        return _STATES.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise GraftError(
            f"{path}: cannot be read ({reason}). Verify again: graft verify RUN --force"
        ) from error
