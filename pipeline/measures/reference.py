"""The checkpoint's answers: the file that every receipt compares with, wherever it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import atomic

VALIDATION_SAMPLES = 1024
"""Greatest number of validation samples that each artifact's own temperature is fitted on."""


@dataclass(frozen=True)
class Answers:
    """The checkpoint's answers to a split, in fp32 and evaluation mode.

    Attributes:
        logits: Uncalibrated logits, float32 of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
        sha256: Content hash of each sample, in hex.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    sha256: Sequence[str]


@dataclass(frozen=True)
class Reference:
    """The answers that an artifact must give.

    Attributes:
        test: Answers to all samples of the test split.
        validation: Answers to up to 1,024 samples of validation, evenly spread.
        temperature: The checkpoint's temperature, by which its logits are divided.
        labels: Class names, in the order of the logits.
    """

    test: Answers
    validation: Answers
    temperature: float
    labels: tuple[str, ...]

    def samples(self) -> list[str]:
        """Return the content hashes of all samples, the test split's first."""
        return [*self.test.sha256, *self.validation.sha256]


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference as an npz file, in which hashes are uint8 of shape (samples, 32)."""
    arrays: dict[str, NDArray[Any]] = {
        "temperature": np.array(reference.temperature),
        "labels": np.array(reference.labels),
    }
    for name, answers in (("test", reference.test), ("validation", reference.validation)):
        hashes = np.frombuffer(bytes.fromhex("".join(answers.sha256)), np.uint8).reshape(-1, 32)
        arrays |= {
            f"{name}_logits": answers.logits,
            f"{name}_targets": answers.targets,
            f"{name}_sha256": hashes,
        }
    atomic.write_arrays(path, **arrays)


def read_reference(path: Path) -> Reference:
    """Read a reference from its npz file, without running any code in it."""
    with np.load(path, allow_pickle=False) as stored:
        test, validation = (
            Answers(
                stored[f"{name}_logits"],
                stored[f"{name}_targets"],
                [row.tobytes().hex() for row in stored[f"{name}_sha256"]],
            )
            for name in ("test", "validation")
        )
        return Reference(test, validation, float(stored["temperature"]), tuple(stored["labels"].tolist()))
