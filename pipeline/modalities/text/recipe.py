"""The recipe of texts: the sections that only they have, and their own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, model_validator

from pipeline.recipe.sections import Backbone, Export, Finetune, Format, Fraction, Recipe, Section


class TextBackbone(Backbone):
    """The pretrained encoder: anything that transformers' ``AutoModel`` reads, and whose padding it ignores.

    Of a pair of encoder and decoder, such as T5, the encoder is taken; a head that the weights hold is not.

    Attributes:
        name: The hub's name of the model, such as ``sentence-transformers/all-MiniLM-L6-v2``.
        weights: ``hub``, which needs a network or a filled cache; or a folder in the hub's layout or that of
            sentence-transformers, as a path or ``package:NAME/PATH``. Its weights are safetensors, or a
            ``pytorch_model.bin`` of tensors alone; its tokenizer is a ``tokenizer.json``, a vocabulary, or a
            sentencepiece model of a known kind.
        pooling: How the vectors of a text's tokens become one: by their ``mean``, as the first (``cls``) or
            as the ``last``. ``auto`` is what the model was pretrained with where its folder says so, ``last``
            for causal models, and the mean for others.
    """

    pooling: Literal["auto", "mean", "cls", "last"] = "auto"


class Text(Section):
    """The preparation of texts.

    Attributes:
        max_tokens: Number of tokens, special ones included, after which a text is cut; every answer to a text
            that was cut says so.
        max_characters: Number of characters above which a text is refused.
    """

    max_tokens: int = Field(default=128, ge=8, le=8192)
    max_characters: int = Field(default=20_000, ge=16, le=1_000_000)


TEXT_LEVELS: Final[Mapping[str, Mapping[str, float]]] = {
    "none": {"delete": 0.0, "swap": 0.0, "synonym": 0.0},
    "light": {"delete": 0.05, "swap": 0.05, "synonym": 0.0},
    "strong": {"delete": 0.15, "swap": 0.1, "synonym": 0.0},
}
"""The values of the keys that a recipe leaves out, by its level; synonyms need an extra, and so a key."""


class TextAugment(Section):
    """Random changes of the words of training texts (EDA, arXiv:1901.11196); off by default.

    Instead of the section a recipe may hold the name of a level alone. Half of a text's words, and three at
    least, always stay; texts in scripts without spaces are not changed.

    Attributes:
        level: Values of the keys that are left out: ``none``; ``light`` leaves out and swaps a twentieth of
            the words each; ``strong`` leaves out 15 % and swaps 10 %.
        delete: Share of the words that are left out.
        swap: Share of the words that change places with another.
        synonym: Share of the words that WordNet's synonyms replace; needs the extra ``wordnet``. No level
            replaces words.
    """

    level: Literal["none", "light", "strong"] = "none"
    delete: Fraction = 0.0
    swap: Fraction = 0.0
    synonym: Fraction = 0.0

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_level(cls, given: object) -> object:
        """Take the name of a level for a section, and fill in the level's values."""
        if isinstance(given, str):
            given = {"level": given}
        if not isinstance(given, Mapping):
            return given
        level = given.get("level", "none")
        values = TEXT_LEVELS.get(level, {}) if isinstance(level, str) else {}
        return {**values, **given}

    @property
    def changes(self) -> bool:
        """Whether anything may change."""
        return self.delete + self.swap + self.synonym > 0


class TextFinetune(Finetune):
    """The training of a text encoder.

    Attributes:
        batching: ``buckets`` puts texts of similar length together, so that little is padded; ``random`` does
            not.
        augment: Random changes of the training texts: the name of a level, or a section.
    """

    layer_decay: float = Field(default=0.9, gt=0, le=1)
    batching: Literal["buckets", "random"] = "buckets"
    augment: TextAugment = TextAugment()

    def packages(self) -> tuple[str, ...]:
        """Return the package of WordNet, where synonyms are asked for."""
        return ("wn",) if self.augment.synonym else ()

    @model_validator(mode="after")
    def _texts_do_not_mix(self) -> TextFinetune:
        for name in ("mixup", "cutmix"):
            if getattr(self, name) > 0:
                raise ValueError(
                    f"{name} is for pictures: the tokens of two texts have no mean. Leave it out; "
                    "label_smoothing and augment keep a text's training from being too sure"
                )
        return self


class TextExport(Export):
    """The formats to serve; texts gain most from dynamic int8, which needs no split for calibration."""

    formats: tuple[Format, ...] = ("onnx-fp32", "onnx-int8")


class TextRecipe(Recipe):
    """Every choice of a run on texts.

    Attributes:
        modality: The kind of input.
        backbone: The pretrained encoder.
        text: The preparation of texts for the network.
        finetune: The training of the backbone.
        evaluate: The evaluation on the test split.
        export: The formats to serve.
    """

    modality: Literal["text"] = "text"
    backbone: TextBackbone
    text: Text = Text()
    finetune: TextFinetune = TextFinetune()
    export: TextExport = TextExport()
