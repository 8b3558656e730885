"""What an 8-bit network may be trained on: samples of the training split, and as many as it has steps for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.export import makers
from pipeline.export.int8.distilling import BATCH, Lessons
from pipeline.export.int8.harm import Quantised
from pipeline.export.makers import ExportContext
from pipeline.files.samples import Sample
from tests.pipeline.export.int8.mobile import fp32

COUNTS = {"train": 90, "validation": 20, "test": 20, "calibration": 10}


class Modality:
    """A kind of input that notes what it decodes."""

    UNIT = "pictures"

    def __init__(self) -> None:
        self.decoded: Sequence[Sample] = ()
        self.scratch = Path()

    def decode_examples(self, samples: Sequence[Sample], preprocessor: object, scratch: Path) -> list[Sample]:
        del preprocessor
        self.decoded, self.scratch = samples, scratch
        return list(samples)


def lessons_of(
    steps: int, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> tuple[Callable[[], Lessons] | None, Modality]:
    """What the maker of 8 bits hands on for training."""
    modality = Modality()
    samples = [
        Sample(f"{split}/{index}", "label", split, f"{index:064x}")
        for split, count in COUNTS.items()
        for index in range(count)
    ]
    context = ExportContext(
        limits={}, modality=modality, calibration_samples=4, samples=samples, classifier=None,
        preprocessor=None, input=None, reference=SimpleNamespace(), metadata={},
        distillation_steps=steps, seed=7,
    )  # fmt: skip
    handed: list[Callable[[], Lessons] | None] = []

    def make(
        source: bytes, inputs: object, limits: object, lessons: Callable[[], Lessons] | None
    ) -> Quantised:
        del source, inputs, limits
        handed.append(lessons)
        return Quantised(b"", "method", (), np.zeros((0, 2)))

    monkeypatch.setattr(makers.static, "make_int8", make)
    monkeypatch.setattr(ExportContext, "feeds", lambda self, samples: list(samples))
    monkeypatch.setattr(makers, "_recalibrate", lambda content, context, record: (content, record))
    makers.make_file("model-int8.onnx", SimpleNamespace(tensors=None, content=fp32()), context, folder)
    return handed[0], modality


@pytest.mark.parametrize(("steps", "count"), [(3, 3 * BATCH), (100, 90)])
def test_lessons_are_training_samples(
    steps: int, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lessons, modality = lessons_of(steps, monkeypatch, tmp_path)
    assert modality.decoded == (), "nothing is decoded before it is needed"
    taught = lessons()
    assert {sample.split for sample in modality.decoded} == {"train"}
    assert len({sample.source for sample in modality.decoded}) == count
    assert (taught.unit, taught.steps, taught.seed) == ("pictures", steps, 7)
    assert modality.scratch.parent == tmp_path


def test_lessons_are_none_where_the_recipe_asks_for_no_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert lessons_of(0, monkeypatch, tmp_path)[0] is None
