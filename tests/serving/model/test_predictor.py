from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.model.predictor import load_predictor
from serving.model.schemas import ErrorBody, Prediction
from tests.conftest import make_picture, run_graft

pytestmark = pytest.mark.slow


def test_predict_gives_probabilities_of_every_label(tiny_run: Path) -> None:
    prediction = load_predictor(tiny_run / "bundle").predict(make_picture("bars", 900))
    assert set(prediction.probabilities) == {"bars", "plain"}
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert (
        prediction.probability
        == max(prediction.probabilities.values())
        == prediction.probabilities[prediction.label]
    )
    assert prediction.model.name == "tiny"


def test_predict_or_error_answers_a_refusal_as_an_error(tiny_run: Path) -> None:
    predictor = load_predictor(tiny_run / "bundle")
    items = [make_picture("bars", 901), b"no picture", make_picture("plain", 902), b""]
    answers = [predictor.predict_or_error(item) for item in items]
    assert [type(answer) for answer in answers] == [Prediction, ErrorBody, Prediction, ErrorBody]
    assert answers[0] == predictor.predict(items[0])
    assert answers[2] == predictor.predict(items[2])
    assert isinstance(answers[3], ErrorBody)
    assert answers[3].error.code == "empty_input"


def test_score_is_the_same_when_batched(tiny_run: Path) -> None:
    predictor = load_predictor(tiny_run / "bundle")
    batch = [predictor.decode(make_picture("bars", index)).array for index in range(7)]
    singly = np.concatenate([predictor.score(batch[i : i + 1]) for i in range(7)])
    assert np.abs(predictor.score(batch) - singly).max() < 1e-5


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_score_many_gives_what_predict_many_gives(
    kind: str, tiny_run: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "pictures":
        run, items = tiny_run, [make_picture("bars", 910), b"no picture", make_picture("plain", 911), b""]
    else:
        run = request.getfixturevalue("text_run")
        items = [b"good film", b"caf\xe9", b"good " * 40, b"", b"bad"]
    predictor = load_predictor(run / "bundle")
    expected, scored = predictor.predict_many(items), predictor.score_many(items)
    assert len(scored) == len(items)
    for answer, found in zip(expected, scored, strict=True):
        if isinstance(found, ErrorBody):
            assert found == answer
        else:
            assert predictor.describe(found.probabilities, found.truncation) == answer
    truncations = [each.truncation for each in scored if not isinstance(each, ErrorBody)]
    assert [each is not None for each in truncations] == [False, kind == "texts", False][: len(truncations)]
    assert predictor.score_many([]) == []


def test_predict_refuses_a_text_where_pictures_are_taken(tiny_run: Path) -> None:
    done = run_graft("predict", tiny_run, "--text", "hello", check=1)
    assert "takes pictures. Name their files; --text is for runs on texts." in done.stderr
