from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import GraftError
from pipeline.modalities.image.recipe import ImageFinetune
from pipeline.modalities.image.training import training_options
from pipeline.modalities.image.views import views_named

PIXELS = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3)


def taken(choice: str) -> list[torch.Tensor]:
    views = views_named(choice)
    assert views is not None
    return [view({"image": PIXELS})["image"] for view in views.takes]


def test_symmetries_are_the_eight_of_a_square_and_mirror_is_two_of_them() -> None:
    eight, two = taken("symmetries"), taken("mirror")
    assert len({view.contiguous().numpy().tobytes() for view in eight}) == 8
    assert torch.equal(eight[0], PIXELS)
    assert [torch.equal(a, b) for a, b in zip(two, eight, strict=False)] == [True, True]
    assert np.array_equal(two[1], np.flip(PIXELS.numpy(), 2))
    # Mirroring or turning what was seen leads to nothing new.
    known = {view.contiguous().numpy().tobytes() for view in eight}
    for view in eight:
        assert view.flip(2).contiguous().numpy().tobytes() in known
        assert torch.rot90(view, 1, (1, 2)).contiguous().numpy().tobytes() in known


def test_symmetries_refuse_pictures_that_are_not_square() -> None:
    views = views_named("symmetries")
    assert views is not None
    wide = {"image": torch.zeros(1, 4, 6, 3, dtype=torch.uint8)}
    assert views.takes[1](wide)["image"].shape == wide["image"].shape
    with pytest.raises(GraftError, match="6 pixels wide and 4 high"):
        views.takes[2](wide)
    mirror = views_named("mirror")
    assert mirror is not None
    assert all(view(wide)["image"].shape == wide["image"].shape for view in mirror.takes)


def test_recipe_names_the_views_and_refuses_them_where_nothing_trains() -> None:
    assert training_options(ImageFinetune()).views is None
    views = training_options(ImageFinetune(distill="symmetries")).views
    assert views is not None
    assert len(views.takes) == 8
    with pytest.raises(ValidationError, match=r"and mode: features does not; choose another mode"):
        ImageFinetune(distill="mirror", mode="features")
