from __future__ import annotations

import pytest

from pipeline.data.layouts.pattern import read_pattern
from pipeline.data.layouts.stems import find_stem_pattern

KINDS = ("cat", "great dane", "chat_noir", "chat_botté", "shih-tzu", "st.bernard")


@pytest.mark.parametrize("between", [".", "_", "-"])
def test_find_stem_pattern_reads_the_class_before_the_number(between: str) -> None:
    names = [f"{label}{between}{index}.jpg" for label in KINDS for index in range(3)]
    found = find_stem_pattern(names)
    assert found is not None
    pattern = read_pattern(found, "data.layout", ["label"])
    labels = [match.label for name in names if (match := pattern.match(name))]
    assert labels == [label for label in KINDS for _ in range(3)]


@pytest.mark.parametrize(
    "names",
    [
        ["0.jpg", "1.jpg", "2.jpg"],
        ["IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg"],
        [*(f"cat.{index}.jpg" for index in range(3)), "dog.1.jpg"],
        [*(f"cat.{index}.jpg" for index in range(3)), *(f"dog_{index}.jpg" for index in range(3))],
        [*(f"cat.{index}.jpg" for index in range(3)), *(f"dog.{index}.jpg" for index in range(3)), "x.jpg"],
        [],
    ],
)
def test_find_stem_pattern_finds_none_when_names_do_not_agree(names: list[str]) -> None:
    assert find_stem_pattern(names) is None
