from __future__ import annotations

import pytest

from pipeline.modalities.image.sides import why_not_mirror

FORBIDDEN = [
    (["left", "right"], "the labels 'left' and 'right' name sides"),
    (["Turn_Left", "straight"], "the label 'Turn_Left' names a side"),
    (["handLeft", "handRight", "none"], "the labels 'handLeft' and 'handRight' name sides"),
    (["links", "rechts"], "name sides"),
    (["gauche", "droite"], "name sides"),
    (["izquierda", "derecha"], "name sides"),
    (["налево", "направо"], "name sides"),
    (["east", "west", "north"], "name sides"),
    (["clockwise", "anticlockwise"], "name sides"),
    (["←", "→"], "name sides"),
    (["b", "d"], "may stand for characters"),
    (["P", "Q"], "may stand for characters"),
    (list("0123456789"), "the labels '0', '1', '2' and 7 more may stand for characters"),
    (["10", "20", "50"], "may stand for characters"),
    (list("abc"), "may stand for characters"),
    (list("あいう"), "may stand for characters"),
    (["digit 3", "digit 5"], "may stand for characters"),
    (["zero", "one", "two"], "may stand for characters"),
]
FREE = [
    ["cat", "dog"],
    ["functional", "defective"],
    ["0", "1"],  # names of two classes
    ["a", "b"],
    ["bright", "leftover", "copyright"],  # words that only contain a side
    ["up", "down"],
    ["someone", "one more"],
]


@pytest.mark.parametrize(("labels", "why"), FORBIDDEN, ids=lambda value: str(value)[:30])
def test_labels_of_sides_and_characters_forbid_a_mirror(labels: list[str], why: str) -> None:
    told = why_not_mirror(labels, "horizontal")
    assert told is not None
    assert why in told


@pytest.mark.parametrize("labels", FREE, ids=str)
def test_other_labels_leave_it_to_the_trial(labels: list[str]) -> None:
    assert why_not_mirror(labels, "horizontal") is None


def test_up_and_down_forbid_a_mirror_top_to_bottom_alone() -> None:
    assert why_not_mirror(["up", "down"], "vertical") is not None
    assert why_not_mirror(["left", "right"], "vertical") is None
