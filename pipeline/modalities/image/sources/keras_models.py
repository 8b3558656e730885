"""The networks of ``keras.applications``, of torch's layers: ``keras:NAME`` or ``keras:NAME(alpha=0.35)``.

Keras creates a network and reads its weights; what is trained and exported is the same network of torch's own
layers, so that nothing of Keras is between a picture and an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.modalities.image.names import KERAS
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.sources.keras_files import load_file, weighted
from pipeline.modalities.image.sources.keras_graph import Channels, Converted, Graph, convert, weights_of
from pipeline.modalities.image.sources.keras_start import Application, find_application
from pipeline.modalities.image.weights import describe_hub_failure

SIZES_PX = {
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "Xception": 299,
}
"""Side of the pictures that a network was made for, in pixels, where it is not 224."""
TWO_WAYS = (
    "Two ways to give weights in the recipe: `weights: hub` with a network or Keras's cache (KERAS_HOME), or "
    "a file that Keras saved: `weights: FILE.keras`, `FILE.weights.h5` or `package:NAME/PATH`."
)
USUAL_SIZE_PX, CROP_PCT = 224, 0.875
STANDARD_DEVIATIONS = (0.229, 0.224, 0.225)  # ImageNet's, of red, green and blue


class KerasNetwork(PooledNetwork):
    """A network of Keras's with a linear head."""

    def group_matcher(self, *, coarse: bool = False) -> Any:  # noqa: ANN401, ARG002 - timm's signature
        """Return the function from a parameter's name to its group, as timm's networks do."""
        graph = self.body
        assert isinstance(graph, Graph)
        return lambda name: (graph.height_of(name.removeprefix("body.")),) if "body." in name else (10**6,)


def create(name: str, classes: int | None = None, size_px: int | None = None) -> nn.Module:  # noqa: ARG001
    """Create a network with random weights, as :meth:`NetworkSource.create` describes it."""
    application = find_application(name)
    return _network(application, application.create(), classes)


def create_pretrained(name: str, size_px: int | None = None) -> nn.Module:  # noqa: ARG001
    """Create a network with Keras's weights for ImageNet, as :meth:`NetworkSource.create_pretrained` does.

    They come from Keras's cache (``KERAS_HOME``), or else from the network.
    """
    application = find_application(name)
    try:
        model = application.create(weights="imagenet")
    except Exception as error:  # what a download or a damaged file raises is of many unrelated types
        raise describe_hub_failure(f"{KERAS}:{name}", error, "Keras", TWO_WAYS) from error
    return _network(application, model, None).eval()


def create_from(
    name: str,
    weights: str,
    mapping: Literal["names", "order"],
    size_px: int | None = None,  # noqa: ARG001 - the protocol's
) -> nn.Module:
    """Create a network with the weights of one of Keras's files, as :meth:`FileSource.create_from`."""
    if mapping != "names":
        raise GraftError("backbone.mapping: weights of Keras's have their own names. Leave it out.")
    application = find_application(name)
    body, full = load_file(application, locate(weights, "backbone.weights"))
    network = _network(application, body, None)
    if full is not None:
        _put_head(network, body, full)
    return network.eval()


def _network(application: Application, model: Any, classes: int | None) -> KerasNetwork:  # noqa: ANN401
    """Return a model of Keras's up to its pooled features as a body with a linear head."""
    module = application.module()
    # MobileNet's padding is the same at every size, that of the others is not.
    converted = convert(model, follows_size=not module.__name__.endswith(".mobilenet"))
    order, scale, shift = _prepare(application, converted)
    if order != [0, 1, 2]:
        _reorder_inputs(converted.graph, order)
    size_px = SIZES_PX.get(application.name, USUAL_SIZE_PX)
    config = {
        "input_size": (3, size_px, size_px),
        "mean": tuple((-shift / (255 * scale)).tolist()),
        "std": tuple((1 / (255 * scale)).tolist()),
        "interpolation": "bilinear",
        "crop_pct": CROP_PCT,
        "crop_mode": "center",
    }
    return KerasNetwork(converted.graph, model.output.shape[-1], classes or 1000, config)


def _prepare(application: Application, converted: Converted) -> tuple[list[int], Channels, Channels]:
    """Return what becomes of pixels from 0 to 255 before the first layer that sees more than one of them.

    Returns:
        For each of the network's channels which one of red, green and blue it is; and for red, green and
        blue what multiplies the pixels, and what is then added.
    """
    prepare = application.module().preprocess_input
    zero = prepare(np.zeros((1, 1, 1, 3), np.float32)).reshape(3).astype(np.float64)
    lit = np.stack([_prepared(prepare, channel) for channel in range(3)]) - zero  # of shape (lit, channel)
    order = [int(np.abs(lit[:, channel]).argmax()) for channel in range(3)]
    factor = np.array([lit[order[channel], channel] for channel in range(3)]) / 255
    scale, shift = factor * converted.scale, zero * converted.scale + converted.shift
    # EfficientNet's weights for ImageNet normalise by the roots of the deviations, and Keras divides by these
    # once more where it loads them by name, but not where it loads the same weights from a file.
    roots = np.sqrt(STANDARD_DEVIATIONS)
    if application.module().__name__.endswith(".efficientnet") and np.allclose(255 * scale * roots, 1, 1e-3):
        scale, shift = scale / roots, shift / roots
    back = np.argsort(order)
    return order, scale[back], shift[back]


def _prepared(prepare: Callable[..., NDArray[np.float32]], channel: int) -> Channels:
    """Return what a network's own preparation makes of a pixel that is lit in one channel only."""
    pixel = np.zeros((1, 1, 1, 3), np.float32)
    pixel[..., channel] = 255
    return prepare(pixel).reshape(3).astype(np.float64)


def _reorder_inputs(graph: Graph, order: list[int]) -> None:
    """Let the first layer take red, green and blue, in place of the order that it was trained with.

    Args:
        graph: The network.
        order: For each channel of its input, which one of red, green and blue it is.
    """
    first = next(module for module in graph.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(first.weight[:, np.argsort(order).tolist()].clone())


def _put_head(network: KerasNetwork, body: Any, full: Any) -> None:  # noqa: ANN401 - Keras has no types
    """Give a network the head of Keras's network, if that is one dense layer on the pooled features."""
    head = weighted(full)[-1]
    weights = weights_of(head)
    kernel = weights.get("kernel")
    is_linear = kernel is not None and kernel.ndim == 2 and len(kernel) == network.head.in_features
    if kernel is None or not is_linear or len(weighted(full)) != len(weighted(body)) + 1:
        return
    network.reset_classifier(kernel.shape[1])
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(kernel.T.copy()))
        network.head.bias.copy_(torch.from_numpy(weights["bias"]))
