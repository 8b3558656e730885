"""The side of the modality ``text`` that trains, as :class:`~pipeline.modalities.training.Training` asks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.text.augment import create_augmenter
from pipeline.modalities.text.baseline import WordBaseline, fit_words
from pipeline.modalities.text.examples import TextExamples, cut, tokenise
from pipeline.modalities.text.network import Pooling, TextClassifier, build_encoder
from pipeline.modalities.text.pretrained import Encoder, load_encoder
from pipeline.modalities.text.probes import probes as probes  # noqa: PLC0414
from pipeline.modalities.text.reading.architectures import Architecture
from pipeline.modalities.text.reading.lengths import Limit
from pipeline.modalities.text.recipe import TextAugment, TextFinetune, TextRecipe
from pipeline.modalities.training import NetworkDescription, Pretrained, Readable, Shown, TrainingOptions
from serving.model.files import FileRef
from serving.model.inputs.item import Preprocessor
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.inputs.text.tokens import TextPreprocessor

log = logging.getLogger("graft")
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
        model_class: transformers' class of the encoder; None, the default, for the one that ``AutoModel``
            takes.
        encoder_only: Whether only the encoder of the class is used, and not its decoder; False by default.
        features: Number of features of a token's vector; None, the default, for as many as a run shows.
    """

    config: dict[str, JsonValue]
    pooling: Pooling
    model_class: str | None = None
    encoder_only: bool = False
    features: int | None = None


def load_pretrained(recipe: TextRecipe) -> Pretrained:
    """Load the recipe's encoder with its pretrained weights and its tokenizer.

    Raises:
        GraftError: The encoder cannot be had exactly, reads fewer tokens than the recipe asks for, or is not
            an encoder of texts.
    """
    encoder = load_encoder(recipe.backbone)
    _check_length(recipe, encoder.limit)
    spec = TextInputSpec(
        tokenizer=FileRef(file=TOKENIZER_FILE, sha256=hashlib.sha256(encoder.tokenizer_json).hexdigest()),
        max_tokens=recipe.text.max_tokens,
        pad_id=encoder.pad_id,
        max_characters=recipe.text.max_characters,
    )
    preprocessor = TextPreprocessor(spec, encoder.tokenizer_json)
    classifier = _classifier_of(encoder, recipe.backbone.name)
    network = TextNetwork(
        config=encoder.config,
        pooling=encoder.pooling,
        model_class=encoder.architecture.name,
        encoder_only=encoder.architecture.encoder_only,
        features=classifier.head.in_features,
    )
    return Pretrained(
        classifier=classifier,
        network=network.model_dump(mode="json"),
        input=spec,
        files={TOKENIZER_FILE: encoder.tokenizer_json},
        preprocessor=preprocessor,
        weights_sha256=hash_tensors(encoder.model.state_dict()),
    )


def _check_length(recipe: TextRecipe, limit: Limit) -> None:
    """Refuse texts longer than an encoder reads, and say where they are longer than it was pretrained on."""
    asked, name = recipe.text.max_tokens, recipe.backbone.name
    if asked > limit.longest:
        raise GraftError(f"text.max_tokens: {asked}, but {name} reads {limit.longest} at most. Lower it.")
    if limit.noted is not None and asked > limit.noted:
        log.warning(
            "text.max_tokens: %d, but %s notes that it was made for %d tokens at most.",
            asked,
            name,
            limit.noted,
        )


def _classifier_of(encoder: Encoder, name: str) -> TextClassifier:
    """Return an encoder with a head, which shows that it runs on token ids and their mask alone."""
    try:
        return TextClassifier(encoder.model, encoder.pooling, classes=2).eval()
    except Exception as error:  # each architecture fails in its own way
        raise GraftError(
            f"backbone.name: {name} cannot be used: it cannot encode token ids and their mask alone "
            f"({reason_of(error)}). Choose another."
        ) from error


def build_classifier(network: NetworkDescription, classes: int) -> TextClassifier:
    """Build the network that a checkpoint's card describes, with random weights."""
    card = TextNetwork.model_validate(network)
    architecture = None if card.model_class is None else Architecture(card.model_class, card.encoder_only)
    encoder = build_encoder(card.config, architecture)
    return TextClassifier(encoder, card.pooling, classes, card.features)


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
