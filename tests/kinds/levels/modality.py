"""The pipeline's side: any folder most of whose files end in ``.level``."""

from __future__ import annotations

import hashlib
from typing import Literal

from pipeline.modalities.content import Content
from pipeline.modalities.modality import Modality, Proposal
from pipeline.recipe.sections import Backbone, Recipe


class LevelRecipe(Recipe):
    modality: Literal["level"] = "level"
    backbone: Backbone = Backbone(name="shares")


def judge_content(recipe) -> Content:
    from .served import LevelPreprocessor

    return Content(LevelPreprocessor().decode, lambda data: hashlib.sha256(data).hexdigest())


def propose(look):
    files = sum(look.suffixes.values())
    return Proposal(0.9) if look.suffixes.get(".level", 0) * 2 > files else None


LEVEL = Modality("level", LevelRecipe, __package__, False, ("level",), judge_content, propose)
