from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.finetune.start.changes import decide_changes
from pipeline.finetune.start.prepared import Prepared, Split
from pipeline.modalities.image.augment_recipe import Flip, ImageAugment
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.mirroring import mirrorings_of
from tests.pipeline.finetune.course.test_loop import prepared
from tests.pipeline.finetune.drawings import Kind, drawn, features_of


class Eyes:
    """Stands in for the frozen backbone, and counts the pictures that it looks at."""

    def __init__(self) -> None:
        self.known: dict[str, NDArray[np.float32]] = {}
        self.looked = 0

    def extract(
        self, examples: ImageExamples, indices: NDArray[np.int64], hashes: Sequence[str]
    ) -> NDArray[np.float32]:
        new = {
            sha256: index for sha256, index in zip(hashes, indices, strict=True) if sha256 not in self.known
        }
        if new:
            self.looked += len(new)
            features = features_of(np.stack([examples[int(index)] for index in new.values()]))
            self.known |= dict(zip(new, features, strict=True))
        return np.stack([self.known[sha256] for sha256 in hashes])


def split_of(kinds: tuple[Kind, ...], count: int, seed: int, choice: ImageAugment) -> Split:
    pixels, targets = drawn(kinds, count, seed)
    return Split(ImageExamples(pixels, choice), targets, [f"{seed}-{n}" for n in range(len(targets))])


def decided(
    kinds: tuple[Kind, ...], labels: list[str], flip: Flip, eyes: Eyes | None = None
) -> tuple[Prepared, ImageAugment]:
    """Decide on the mirroring of pictures of some kinds under these labels."""
    choice = ImageAugment(horizontal_flip=flip)
    train, validation = split_of(kinds, 80, 0, choice), split_of(kinds, 30, 1, choice)
    start = replace(prepared(), train=train, validation=validation)
    eyes = eyes or Eyes()
    end = decide_changes(mirrorings_of(choice), labels, start, eyes)  # type: ignore[arg-type]
    assert isinstance(end.train.examples, ImageExamples)
    return end, end.train.examples.choice


def test_auto_leaves_mirrors_out_for_labels_of_sides_without_a_look_at_the_pictures() -> None:
    eyes = Eyes()
    end, choice = decided(("left", "right"), ["left", "right"], "auto", eyes)
    assert choice.horizontal_flip is False
    assert eyes.looked == 0
    (told,) = end.remarks
    assert told == (
        "finetune.augment.horizontal_flip: auto leaves out mirroring left to right, since the labels 'left'"
        " and 'right' name sides, which a mirror swaps."
    )


def test_auto_leaves_mirrors_out_for_sides_under_other_names() -> None:
    end, choice = decided(("left", "right"), ["a", "b"], "auto")
    assert choice.horizontal_flip is False
    assert "since the way round alone tells" in end.remarks[0]


def test_auto_mirrors_shapes_that_a_mirror_leaves_alone_and_says_so() -> None:
    eyes = Eyes()
    end, choice = decided(("bar", "ring"), ["bar", "ring"], "auto", eyes)
    assert choice.horizontal_flip is True
    assert eyes.looked == 160 + 160 + 60
    assert end.remarks[0].startswith("finetune.augment.horizontal_flip: auto chose mirroring left to right")
    assert decided(("bar", "ring"), ["bar", "ring"], "auto")[0].remarks == end.remarks


@pytest.mark.parametrize("labels", [["a", "b"], ["left", "right"]])
def test_a_mirror_that_the_recipe_asks_for_and_that_does_harm_is_warned_of(
    labels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "graft"):
        end, choice = decided(("left", "right"), labels, True)
    assert choice.horizontal_flip is True
    (told,) = end.remarks
    assert "takes away what tells the classes apart. Set it to false, or to auto" in told
    assert told in caplog.text


def test_a_mirror_that_the_recipe_asks_for_and_that_does_no_harm_is_not_spoken_of() -> None:
    assert decided(("bar", "ring"), ["bar", "ring"], True)[0].remarks == ()


def test_a_mirror_that_the_recipe_rules_out_is_not_tried() -> None:
    eyes = Eyes()
    end, choice = decided(("bar", "ring"), ["bar", "ring"], False, eyes)
    assert (choice.horizontal_flip, end.remarks, eyes.looked) == (False, (), 0)


def test_undecided_mirrors_mirror_nothing() -> None:
    assert not ImageAugment(horizontal_flip="auto", vertical_flip="auto").flips
