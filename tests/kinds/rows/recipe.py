"""The recipe of rows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.recipe.sections import Backbone, Finetune, Recipe, Section


class RowBackbone(Backbone):
    """A network of two layers; its weights are of a fixed seed."""

    name: Literal["mlp"] = "mlp"
    weights: Literal["hub"] = "hub"
    width: int = Field(default=128, ge=1)


class Row(Section):
    """How a row becomes input: it has so many numbers."""

    columns: int = Field(ge=1)


class RowFinetune(Finetune):
    """The same with a default of its own."""

    learning_rate: float = Field(default=3e-3, gt=0)


class RowRecipe(Recipe):
    """Every choice of a run on rows."""

    modality: Literal["row"] = "row"
    backbone: RowBackbone = RowBackbone()
    row: Row
    finetune: RowFinetune = RowFinetune()
