"""The section ``budget`` of every recipe: the limits that the container is measured against."""

from __future__ import annotations

from pydantic import Field

from pipeline.recipe.data import Section


class Budget(Section):
    """The limits of ``graft budget``; ``null`` measures without a limit.

    Attributes:
        image_mb: Largest size of the image without the model, uncompressed, in megabytes.
        packages: Largest number of packages in the image, those of Debian and of Python together.
        vulnerabilities: Largest number of known vulnerabilities, where a dump of them is given.
        cold_start_s: Longest time from the start of the container to its first answer that it is ready, with
            one CPU, in seconds.
        memory_mb: Most resident memory after the first predictions, in megabytes.
        p99_ms: Largest 99th percentile of the time of one prediction, with one CPU, in milliseconds.
        forbidden: Names of what must not be in the image: packages, modules of Python or programs. They may
            be patterns with `*`, `?` and `[0-9]`.
    """

    image_mb: float | None = Field(default=180.0, gt=0)
    packages: int | None = Field(default=None, ge=1)
    vulnerabilities: int | None = Field(default=None, ge=0)
    cold_start_s: float | None = Field(default=None, gt=0)
    memory_mb: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    forbidden: tuple[str, ...] = (
        "torch",
        "pip",
        "git",
        "make",
        "cc",
        "c++",
        "cc1*",
        "as",
        "ld",
        "ld.*",
        "gcc",
        "gcc-[0-9]",
        "gcc-[0-9][0-9]",
        "g++*",
        "clang*",
        "*-gnu-*",
    )
