"""Keras's layers as torch's, for pictures of shape (batch, channels, height, width).

Each function takes a layer's configuration and its weights in Keras's layout, channels last, and returns a
torch module that computes the same. What depends on a picture's size, such as the padding ``same``, is
computed from the size at hand, as Keras does when a network is built for that size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import DropPath
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.sources.keras_modules import (
    ChannelNorm,
    Combine,
    EvenPadding,
    Padding,
    Pool,
    Scale,
)

Config = Mapping[str, Any]
Weights = Mapping[str, NDArray[np.float32]]

ACTIVATIONS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "hard_silu": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def _activated(layer: nn.Module, config: Config) -> nn.Module:
    """Return a layer with the activation that its configuration has."""
    activation = config.get("activation", "linear")
    return layer if activation == "linear" else nn.Sequential(layer, _activation(config, {}))


def _activation(config: Config, _: Weights) -> nn.Module:
    name = config["activation"]
    if name not in ACTIVATIONS:
        raise GraftError(f"backbone.name: Graft does not know Keras's activation `{name}`.")
    return ACTIVATIONS[name]()


def _put(parameter: torch.Tensor | None, values: NDArray[np.float32]) -> None:
    """Copy values into a parameter of the same shape."""
    assert parameter is not None
    assert parameter.shape == values.shape
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _convolve(kernel: NDArray[np.float32], weights: Weights, config: Config, groups: int) -> nn.Module:
    """Return a convolution with its padding.

    Args:
        kernel: The kernel, float32 of shape (outputs, inputs / groups, height, width).
        weights: The layer's weights, of which the bias is used, if there is one.
        config: The layer's configuration.
        groups: Number of groups of channels.
    """
    outputs, inputs, *size = kernel.shape
    dilation = config["dilation_rate"]
    layer = nn.Conv2d(
        inputs * groups,
        outputs,
        tuple(size),
        tuple(config["strides"]),
        dilation=tuple(dilation),
        groups=groups,
        bias="bias" in weights,
    )
    _put(layer.weight, kernel)
    if "bias" in weights:
        _put(layer.bias, weights["bias"])
    spans = [(length - 1) * step + 1 for length, step in zip(size, dilation, strict=True)]
    if config["padding"] == "same" and max(config["strides"]) == 1 and all(span % 2 for span in spans):
        layer.padding = tuple(span // 2 for span in spans)
    elif config["padding"] == "same":
        return nn.Sequential(Padding(spans, config["strides"]), layer)
    return layer


def _conv(config: Config, weights: Weights) -> nn.Module:
    kernel = weights["kernel"].transpose(3, 2, 0, 1)
    return _activated(_convolve(kernel, weights, config, config["groups"]), config)


def _depthwise_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a kernel of shape (height, width, channels, factor) as torch has it: one group a channel."""
    height, width, channels, factor = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * factor, 1, height, width)


def _depthwise(config: Config, weights: Weights) -> nn.Module:
    # The kernel of a depthwise layer is called `kernel` in files, and `depthwise_kernel` by older versions.
    kernel = weights["kernel"] if "kernel" in weights else weights["depthwise_kernel"]
    return _activated(_convolve(_depthwise_kernel(kernel), weights, config, kernel.shape[2]), config)


def _separable(config: Config, weights: Weights) -> nn.Module:
    kernel = weights["depthwise_kernel"]
    first = _convolve(_depthwise_kernel(kernel), {}, config, kernel.shape[2])
    plain = {"strides": (1, 1), "dilation_rate": (1, 1), "padding": "valid"}
    second = _convolve(weights["pointwise_kernel"].transpose(3, 2, 0, 1), weights, plain, 1)
    return _activated(nn.Sequential(first, second), config)


def _dense_on_maps(config: Config, weights: Weights) -> nn.Module:
    """Return a dense layer over the channels of maps, which is a convolution of one pixel."""
    plain = {"strides": (1, 1), "dilation_rate": (1, 1), "padding": "valid"}
    return _activated(_convolve(weights["kernel"].T[:, :, None, None], weights, plain, 1), config)


def _batch_norm(config: Config, weights: Weights) -> nn.Module:
    mean = weights["moving_mean"]
    # Keras keeps a share of the old statistics, torch takes one of the new.
    layer = nn.BatchNorm2d(len(mean), eps=config["epsilon"], momentum=1 - config["momentum"])
    _put(layer.running_mean, mean)
    _put(layer.running_var, weights["moving_variance"])
    if "gamma" in weights:
        _put(layer.weight, weights["gamma"])
    if "beta" in weights:
        _put(layer.bias, weights["beta"])
    return layer


def _layer_norm(config: Config, weights: Weights) -> nn.Module:
    kind = ChannelNorm if config["rank"] == len("nchw") else nn.LayerNorm
    layer = kind(len(weights["gamma"]), eps=config["epsilon"])
    _put(layer.weight, weights["gamma"])
    _put(layer.bias, weights["beta"])
    return layer


def _relu(config: Config, _: Weights) -> nn.Module:
    if (config["negative_slope"], config["threshold"]) != (0, 0) or config["max_value"] not in {None, 6}:
        raise GraftError("backbone.name: Graft knows Keras's ReLU and ReLU6 only.")
    return nn.ReLU() if config["max_value"] is None else nn.ReLU6()


def _max_pool(config: Config, _: Weights) -> nn.Module:
    kernel, stride = tuple(config["pool_size"]), tuple(config["strides"])
    layer = nn.MaxPool2d(kernel, stride)
    return nn.Sequential(Padding(kernel, stride, -torch.inf), layer) if config["padding"] == "same" else layer


def _average_pool(config: Config, _: Weights) -> nn.Module:
    kernel, stride = tuple(config["pool_size"]), tuple(config["strides"])
    if config["padding"] != "same":
        return nn.AvgPool2d(kernel, stride)
    if max(stride) > 1 or not all(length % 2 for length in kernel):
        raise GraftError("backbone.name: Graft knows Keras's padded average pooling with steps of 1 only.")
    down, across = kernel
    return nn.AvgPool2d(kernel, stride, (down // 2, across // 2), count_include_pad=False)


def _zero_padding(config: Config, _: Weights) -> nn.Module:
    (top, bottom), (left, right) = config["padding"]
    if config["follows_size"] and (top, left) == (bottom - 1, right - 1):
        return EvenPadding((bottom, right))
    return nn.ZeroPad2d((left, right, top, bottom))


def _dropout(config: Config, _: Weights) -> nn.Module:
    return nn.Dropout(config["rate"]) if config["noise_shape"] is None else DropPath(config["rate"])


def _concatenate(config: Config, _: Weights) -> nn.Module:
    if config["axis"] not in {-1, 3}:
        raise GraftError("backbone.name: Graft knows Keras's concatenation of channels only.")
    return Combine(lambda *maps: torch.cat(maps, 1))


def _reshape(config: Config, _: Weights) -> nn.Module:
    channels = config["target_shape"][-1]
    if list(config["target_shape"]) != [1, 1, channels]:
        raise GraftError(
            "backbone.name: Graft knows Keras's reshaping of features to maps of one pixel only."
        )
    return Combine(lambda features: features.reshape(len(features), channels, 1, 1))


LAYERS: Final[Mapping[str, Callable[[Config, Weights], nn.Module]]] = {
    "Activation": _activation,
    "Add": lambda _config, _weights: Combine(_sum),
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "CustomScaleLayer": lambda config, _: Combine(lambda maps, more: maps + more * config["scale"]),
    "Dense": _dense_on_maps,
    "DepthwiseConv2D": _depthwise,
    "Dropout": _dropout,
    "GlobalAveragePooling2D": lambda config, _: Pool(keepdims=config["keepdims"]),
    "LayerNormalization": _layer_norm,
    "LayerScale": lambda _, weights: Scale(next(iter(weights.values()))),
    "MaxPooling2D": _max_pool,
    "Multiply": lambda _config, _weights: Combine(_product),
    "ReLU": _relu,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "StochasticDepth": lambda config, _: DropPath(config["drop_path_rate"]),
    "ZeroPadding2D": _zero_padding,
}
"""A function that makes each of Keras's layers, by the name of its class."""


def _sum(first: torch.Tensor, *others: torch.Tensor | float) -> torch.Tensor:
    for other in others:
        first = first + other
    return first


def _product(first: torch.Tensor, *others: torch.Tensor | float) -> torch.Tensor:
    for other in others:
        first = first * other
    return first
