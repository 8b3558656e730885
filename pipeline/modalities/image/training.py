"""The side of the modality ``image`` that trains, as :class:`~pipeline.modalities.training.Training` asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue

from pipeline.modalities.image.baseline import StatisticsBaseline, fit_statistics
from pipeline.modalities.image.code import check_code, hash_code_of
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.examples import decode_examples as decode_pictures
from pipeline.modalities.image.linear_heads import pooled, with_linear_head
from pipeline.modalities.image.mirroring import mirrorings_of
from pipeline.modalities.image.network import (
    ImageClassifier,
    Normalisation,
    create_network,
    create_pretrained,
    describe_input,
)
from pipeline.modalities.image.probes import probes as probes  # noqa: PLC0414
from pipeline.modalities.image.rebuilding import rebuilt_from
from pipeline.modalities.image.recipe import ImageAugment, ImageFinetune, ImageRecipe
from pipeline.modalities.image.shown import to_shown
from pipeline.modalities.image.thumbnails import encode_thumbnail
from pipeline.modalities.image.views import views_named
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import NetworkDescription, Pretrained, Readable, Shown, TrainingOptions
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.inputs.item import Preprocessor

UNIT = "pictures"
DYNAMIC_AXES: Mapping[str, Sequence[str]] = {"image": ("batch",)}
THUMBNAIL_PX = 264


class ImageNetwork(BaseModel):
    """What a network of timm is rebuilt from.

    Attributes:
        architecture: timm's name of the network.
        mean: Mean of each channel, R, G and B, of pixels scaled to [0, 1].
        std: Standard deviation of each channel.
        code_sha256: SHA-256, in hex, of the code in the folder of a network of PyTorch Hub; None, the
            default, for a network of a package.
        size_px: Side of the pictures in pixels that the network was made for; None, the default, for the
            architecture's own, and for networks that take any.
        head: ``own``, the default, for the architecture's own linear head; ``pooled`` for one on the pooled
            features, in place of another.
        arguments: Further arguments of timm's architecture, as the hub has them; none by default.
    """

    architecture: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    code_sha256: str | None = None
    size_px: int | None = None
    head: Literal["own", "pooled"] = "own"
    arguments: dict[str, JsonValue] = {}


def load_pretrained(recipe: ImageRecipe) -> Pretrained:
    """Load the recipe's network with its pretrained weights.

    Raises:
        GraftError: The network is unknown, or its weights are not there or do not fit.
    """
    network = create_pretrained(recipe.backbone, recipe.image.size)
    weights_sha256 = hash_tensors(network.state_dict())
    spec, normalisation = describe_input(network, recipe.image)
    whole = with_linear_head(network, spec)
    architecture, arguments, size_px = rebuilt_from(recipe.backbone.name, network)
    return Pretrained(
        classifier=ImageClassifier(whole, normalisation).eval(),
        network=ImageNetwork(
            architecture=architecture,
            mean=normalisation.mean,
            std=normalisation.std,
            code_sha256=hash_code_of(recipe.backbone.name),
            size_px=size_px,
            head="own" if whole is network else "pooled",
            arguments=arguments,
        ).model_dump(mode="json", exclude_defaults=True),
        input=spec,
        files={},
        preprocessor=ImagePreprocessor(spec),
        weights_sha256=weights_sha256,
    )


def build_classifier(network: NetworkDescription, classes: int) -> ImageClassifier:
    """Build the network that a checkpoint's card names, with random weights.

    Raises:
        GraftError: There is no such network here, or the code that makes it has changed since.
    """
    description = ImageNetwork.model_validate(network)
    if description.code_sha256:
        check_code(description.architecture, description.code_sha256)
    normalisation = Normalisation(description.mean, description.std)
    own = description.head == "own"
    created = create_network(
        description.architecture, classes if own else None, description.size_px, description.arguments
    )
    return ImageClassifier(created if own else pooled(created, classes), normalisation)


def decode_examples(
    samples: Sequence[Readable],
    preprocessor: Preprocessor,
    scratch: Path,
    augment: ImageAugment | None = None,
) -> ImageExamples:
    """Decode pictures on all CPUs, through the code that serves them."""
    assert isinstance(preprocessor, ImagePreprocessor)
    return decode_pictures(samples, preprocessor, scratch, augment)


def fit_baseline(
    samples: Sequence[Readable], targets: NDArray[np.int64], seed: int
) -> StatisticsBaseline | None:
    """Fit the baseline of pictures, which measures colours, edges and gradients."""
    return fit_statistics(samples, targets, seed)


def show(data: bytes) -> Shown:
    """Return a thumbnail of a picture, with sides of 264 pixels at most, as a JPEG in a data URI."""
    return Shown(picture=encode_thumbnail(to_shown(data), THUMBNAIL_PX))


def training_options(finetune: ImageFinetune) -> TrainingOptions:
    """Return what the section ``finetune`` asks of the training."""
    choices = {"auto": None, "train": False, "frozen": True}
    return TrainingOptions(
        freeze_batch_norm=choices[finetune.batch_norm],
        augment=finetune.augment,
        mixing=("mixup", "cutmix"),
        changes=mirrorings_of(finetune.augment),
        views=views_named(finetune.distill),
    )


def longest_axes(_: ImageInputSpec) -> Mapping[str, int]:
    """Return no axes: a network takes pictures of one size."""
    return {}
