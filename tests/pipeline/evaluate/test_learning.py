from __future__ import annotations

import io

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader
from PIL import Image

from pipeline.artifacts.augmented import AugmentedSample, Seen, Sheet
from pipeline.evaluate.learning import plot_learning
from pipeline.evaluate.report import LISTED, SHARED
from tests.pipeline.files.test_records import AUDIT, HISTORY
from tests.pipeline.finetune.course.test_curves import epochs_of

CURVES = HISTORY.model_copy(
    update={"epochs": tuple(epochs_of([0.5, 0.4, 0.5], [0.4, 0.2, 0.05])), "best_epoch": 2, "kept": "epoch 2"}
)

CURVES = HISTORY.model_copy(
    update={"epochs": tuple(epochs_of([0.5, 0.4, 0.5], [0.4, 0.2, 0.05])), "best_epoch": 2, "kept": "epoch 2"}
)
MACROS = Environment(loader=PackageLoader("pipeline.evaluate", "."), autoescape=True).get_template(
    SHARED["training"]
)
"""The macros of the page's parts on training and data; without the filter that the plot needs."""


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("change", [{"best_epoch": 3}, {"kept": "epoch 3"}])
def test_plot_marks_what_is_kept(change: dict[str, object]) -> None:
    assert np.any(pixels(plot_learning(CURVES)) != pixels(plot_learning(CURVES.model_copy(update=change))))


def test_plot_shows_the_loss_that_was_measured_as_on_validation() -> None:
    other = tuple(epoch.model_copy(update={"train_loss": 0.9}) for epoch in CURVES.epochs)
    same = plot_learning(CURVES.model_copy(update={"epochs": other}))
    assert np.array_equal(pixels(plot_learning(CURVES)), pixels(same))


def test_a_head_alone_has_no_curves() -> None:
    assert plot_learning(HISTORY) is None


def test_page_shows_the_remarks_on_training_and_on_the_data() -> None:
    told = "Validation was best at epoch 2, and <then> got worse."
    training = MACROS.module.show_training(CURVES.model_copy(update={"remarks": (told,)}), None)
    assert "<li>Validation was best at epoch 2, and &lt;then&gt; got worse.</li>" in training
    audit = AUDIT.model_copy(update={"remarks": {f"{n:02}.png": "is white" for n in range(LISTED + 3)}})
    data = MACROS.module.show_data(audit, ["a", "b"], LISTED)
    assert "<b>All is dark.</b>" in data
    assert data.count("is white") == LISTED
    assert "and 3 more remarks on samples" in data


@pytest.mark.parametrize(
    "seen", [Seen(picture="data:image/jpeg;base64,AAAA"), Seen(text="some <b>words</b>")]
)
def test_page_shows_samples_beside_their_random_changes(seen: Seen) -> None:
    sample = AugmentedSample(label="a", original=seen, variants=(seen, seen))
    shown = str(MACROS.module.show_sheet(Sheet(samples=(sample,))))
    expected = '<img src="data:image/jpeg;base64,AAAA"' if seen.picture else "some &lt;b&gt;"
    assert shown.count(expected) == 3
    assert MACROS.module.show_sheet(None).strip() == ""
