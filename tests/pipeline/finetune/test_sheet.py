from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts.augmented import AUGMENTED_FILE, read_sheet
from pipeline.errors import GraftError
from pipeline.finetune.sheet import SAMPLES, VARIANTS, choose_samples, make_sheet, sheet_file
from pipeline.finetune.start.prepared import Split
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.text.augment import Augmenter
from pipeline.modalities.text.examples import TextExamples
from pipeline.modalities.text.recipe import TextAugment

TARGETS = np.array([0, 0, 0, 1, 1, 2, 0, 0])
LABELS = ("a", "b", "c")


def pictures(choice: ImageAugment) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (len(TARGETS), 160, 160, 3), dtype=np.uint8)
    return Split(ImageExamples(pixels, choice), TARGETS)


def texts(choice: TextAugment) -> Split:
    written = [f"this is number {number} of a few " * 20 for number in range(len(TARGETS))]
    return Split(TextExamples([], written, None, Augmenter(choice)), TARGETS)  # type: ignore[arg-type]


def decode(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_choose_samples_takes_every_class_before_it_takes_another_of_one() -> None:
    assert choose_samples(TARGETS, 3).tolist() == [0, 3, 5]
    assert choose_samples(TARGETS, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert choose_samples(TARGETS, 99).tolist() == [0, 1, 2, 6, 7, 3, 4, 5]


def test_make_sheet_shows_pictures_with_variants_that_differ() -> None:
    sheet = make_sheet(pictures(ImageAugment(level="light")), LABELS, 0)
    assert sheet is not None
    assert sheet == make_sheet(pictures(ImageAugment(level="light")), LABELS, 0)
    assert [sample.label for sample in sheet.samples] == ["a", "a", "a", "b", "b", "c"]
    assert len(sheet.samples) == SAMPLES
    for sample in sheet.samples:
        assert decode(sample.original.picture).size == (128, 128)
        assert len({variant.picture for variant in (sample.original, *sample.variants)}) == VARIANTS + 1


def test_make_sheet_shows_texts_before_and_after() -> None:
    sheet = make_sheet(texts(TextAugment(level="strong")), LABELS, 0)
    assert sheet is not None
    first = sheet.samples[0]
    assert first.original.text is not None
    assert first.original.text.startswith("this is number 0")
    assert len(first.original.text) == 401, "long texts are cut"
    assert len({variant.text for variant in first.variants}) == VARIANTS


def test_sheet_file_is_read_back_and_absent_when_nothing_changes(tmp_path: Path) -> None:
    assert sheet_file(pictures(ImageAugment(level="none")), LABELS, 0) == {}
    assert sheet_file(Split([], TARGETS), LABELS, 0) == {}  # type: ignore[arg-type]
    assert read_sheet(tmp_path) is None
    split = pictures(ImageAugment())
    ((name, content),) = sheet_file(split, LABELS, 3).items()
    (tmp_path / name).write_bytes(content)
    assert read_sheet(tmp_path) == make_sheet(split, LABELS, 3)
    (tmp_path / AUGMENTED_FILE).write_text("{}")
    with pytest.raises(GraftError, match="graft finetune RUN --force"):
        read_sheet(tmp_path)
