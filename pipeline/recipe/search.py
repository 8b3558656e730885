"""The section ``search`` of every recipe: the space, the method and the budget of ``graft search``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, JsonValue, field_serializer

from pipeline.recipe.addresses import SQLITE, bare_address
from pipeline.recipe.data import Section


class Dimension(Section):
    """The values that a search may try for one field of the recipe: a range, or choices.

    Attributes:
        low: Least value of a range.
        high: Greatest value of a range.
        log: Whether the range is searched evenly in the logarithm.
        step: Distance between the values of a range; without it, every number of the range may be tried.
        points: Number of values, evenly spread over a range, that ``method: grid`` tries.
        choices: The values themselves, instead of a range.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    points: int | None = None
    choices: tuple[JsonValue, ...] | None = None


class Search(Section):
    """The search for values of the recipe by ``graft search``; no other command heeds it.

    Attributes:
        space: The values to try, by the dotted name of the field, such as ``finetune.learning_rate``. Without
            it the search has a space of its own for each ``finetune.mode``.
        method: ``bayesian`` goes by the trials before (multivariate TPE), ``random`` does not, and ``grid``
            tries every point once.
        pruner: What ends a trial that falls behind at an epoch: ``asha`` (successive halving), ``hyperband``,
            or ``none``. ``auto`` is ``asha``, but for ``finetune.mode: features``, which has no epochs.
        objective: What is measured on validation: ``loss``, after calibration, ``accuracy`` or ``macro_f1``.
        trials: Number of trials; ``null`` for 30, or for all points of a grid.
        minutes: Minutes after which no trial begins any more; ``null`` for no limit. Each search of
            ``nested`` has as many for itself.
        seed: Seed of the order of the trials; ``null`` for the recipe's.
        nested: Whether five searches on parts of the samples measure the whole procedure on the rest of
            them, which takes as many times as long.
        storage: Where the trials are kept: ``postgresql://USER@HOST/DATABASE`` where several machines search
            together, with the password in the variable ``PGPASSWORD``, or ``sqlite:///PATH``; ``null`` for a
            file in the run's folder.
        study: Name under which the trials are kept; ``null`` for the recipe's name.
    """

    space: dict[str, Dimension] = Field(default={})
    method: Literal["bayesian", "random", "grid"] = "bayesian"
    pruner: Literal["auto", "asha", "hyperband", "none"] = "auto"
    objective: Literal["loss", "accuracy", "macro_f1"] = "loss"
    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    nested: bool = False
    storage: str | None = Field(default=None, repr=False)
    study: str | None = Field(default=None, min_length=1, max_length=200)

    def with_places(self, change: Callable[[str], str]) -> Self:
        """Return the section with the place of a file of SQLite changed.

        Args:
            change: From the place in the section to the one that takes its place.
        """
        if self.storage is None or not self.storage.startswith(SQLITE):
            return self
        place = change(self.storage.removeprefix(SQLITE))
        return self.model_copy(update={"storage": f"{SQLITE}{place}"})

    @field_serializer("storage")
    def _without_password(self, storage: str | None) -> str | None:
        """Leave the password out of every copy of the recipe."""
        return None if storage is None else bare_address(storage)
