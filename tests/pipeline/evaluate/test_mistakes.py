from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from pipeline.evaluate.report import MISTAKES_SHOWN, Scored, find_mistakes
from pipeline.files.samples import Sample
from pipeline.modalities.training import Shown, Training
from pipeline.tasks.classification import CLASSIFICATION


@dataclass(frozen=True)
class Bytes:
    """A sample whose bytes are its name."""

    source: str

    def read(self) -> bytes:
        return self.source.encode()


class Texts:
    """As much of a modality as shows a sample."""

    @staticmethod
    def show(data: bytes) -> Shown:
        return Shown(text=data.decode())


def find(probabilities: list[list[float]], targets: list[int]):
    after = np.array(probabilities)
    samples = cast("list[Sample]", [Bytes(f"folder/{index}") for index in range(len(after))])
    scored = Scored(samples, np.array(targets), before=after, after=after)
    return find_mistakes(scored, ("a", "b"), cast("Training", Texts()), CLASSIFICATION)


def test_find_mistakes_shows_wrong_answers_the_surest_first() -> None:
    mistakes = find([[0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]], [1, 1, 0, 1])
    told = [(m.name, m.true, m.predicted, m.confidence, m.shown.text) for m in mistakes]
    assert told == [
        ("2", "a", "b", 0.9, "folder/2"),
        ("0", "b", "a", 0.6, "folder/0"),
        ("3", "b", "a", 0.5, "folder/3"),
    ]


def test_find_mistakes_stops_at_as_many_as_the_page_shows_and_keeps_the_order_of_equals() -> None:
    mistakes = find([[0.75, 0.25]] * (MISTAKES_SHOWN + 5), [1] * (MISTAKES_SHOWN + 5))
    assert [m.name for m in mistakes] == [str(index) for index in range(MISTAKES_SHOWN)]


def test_find_mistakes_finds_none_when_every_answer_is_right() -> None:
    assert find([[0.75, 0.25], [0.25, 0.75]], [0, 1]) == []
