"""The side of the modality ``text`` that trains, as :class:`~pipeline.modalities.training.Training` asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue

from pipeline.errors import GraftError
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.text.augment import create_augmenter
from pipeline.modalities.text.baseline import WordBaseline, fit_words
from pipeline.modalities.text.examples import TextExamples, cut, tokenise
from pipeline.modalities.text.network import Pooling, TextClassifier, build_encoder
from pipeline.modalities.text.pretrained import load_encoder
from pipeline.modalities.text.probes import probes as probes  # noqa: PLC0414
from pipeline.modalities.text.recipe import TextAugment, TextFinetune, TextRecipe
from pipeline.modalities.training import NetworkDescription, Pretrained, Readable, Shown, TrainingOptions
from serving.model.files import FileRef
from serving.model.inputs.item import Preprocessor
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.inputs.text.tokens import TextPreprocessor

LEARNING_RATE = 1e-4
UNIT = "texts"
DYNAMIC_AXES: Mapping[str, Sequence[str]] = {
    "input_ids": ("batch", "sequence"),
    "attention_mask": ("batch", "sequence"),
}
TOKENIZER_FILE = "tokenizer.json"


class TextNetwork(BaseModel):
    """What an encoder and its pooling are rebuilt from.

    Attributes:
        config: transformers' configuration of the encoder.
        pooling: How its token vectors become one.
    """

    config: dict[str, JsonValue]
    pooling: Pooling


def load_pretrained(recipe: TextRecipe) -> Pretrained:
    """Load the recipe's encoder with its pretrained weights and its tokenizer.

    Raises:
        GraftError: The encoder cannot be had exactly, reads fewer tokens than the recipe asks for, or is not
            an encoder of texts.
    """
    encoder = load_encoder(recipe.backbone)
    if recipe.text.max_tokens > encoder.longest:
        raise GraftError(
            f"text.max_tokens: {recipe.text.max_tokens}, but {recipe.backbone.name} reads {encoder.longest} "
            "at most. Lower it."
        )
    spec = TextInputSpec(
        tokenizer=FileRef(file=TOKENIZER_FILE, sha256=hashlib.sha256(encoder.tokenizer_json).hexdigest()),
        max_tokens=recipe.text.max_tokens,
        pad_id=encoder.pad_id,
        max_characters=recipe.text.max_characters,
    )
    classifier = TextClassifier(encoder.model, encoder.pooling, classes=2).eval()
    preprocessor = TextPreprocessor(spec, encoder.tokenizer_json)
    return Pretrained(
        classifier=classifier,
        network=TextNetwork(config=encoder.config, pooling=encoder.pooling).model_dump(mode="json"),
        input=spec,
        files={TOKENIZER_FILE: encoder.tokenizer_json},
        preprocessor=preprocessor,
        weights_sha256=hash_tensors(encoder.model.state_dict()),
    )


def build_classifier(network: NetworkDescription, classes: int) -> TextClassifier:
    """Build the network that a checkpoint's card describes, with random weights."""
    description = TextNetwork.model_validate(network)
    return TextClassifier(build_encoder(description.config), description.pooling, classes)


def decode_examples(
    samples: Sequence[Readable],
    preprocessor: Preprocessor,
    scratch: Path,  # noqa: ARG001 - the protocol's
    augment: TextAugment | None = None,
) -> TextExamples:
    """Tokenise texts through the code that serves them."""
    assert isinstance(preprocessor, TextPreprocessor)
    return tokenise(samples, preprocessor, create_augmenter(augment) if augment else None)


def fit_baseline(samples: Sequence[Readable], targets: NDArray[np.int64], seed: int) -> WordBaseline | None:
    """Fit the baseline of texts, which counts words."""
    return fit_words(samples, targets, seed)


def show(data: bytes) -> Shown:
    """Return a text, cut after 400 characters."""
    return Shown(text=cut(data.decode("utf-8-sig", errors="replace")))


def training_options(finetune: TextFinetune) -> TrainingOptions:
    """Return what the section ``finetune`` asks of the training."""
    return TrainingOptions(
        learning_rate=LEARNING_RATE, by_length=finetune.batching == "buckets", augment=finetune.augment
    )


def longest_axes(spec: TextInputSpec) -> Mapping[str, int]:
    """Return the length of the axis of tokens: as many as the recipe lets a text have."""
    return {"sequence": spec.max_tokens}
