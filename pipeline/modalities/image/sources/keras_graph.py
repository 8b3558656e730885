"""A network of Keras as a torch module: the same layers in the same order, with the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.sources.keras_layers import LAYERS, Config

Channels = NDArray[np.float64]
GROUPS = 12
"""Number of groups of layers that have a learning rate of their own."""


@dataclass(frozen=True)
class Step:
    """One layer at work.

    Attributes:
        layer: Name of the layer, which is that of its result too.
        inputs: What it is given: names of results, or numbers.
        done: Names of the results that nothing after it needs.
    """

    layer: str
    inputs: tuple[str | float, ...]
    done: tuple[str, ...]


class Graph(nn.Module):
    """The layers of a network, run one after the other.

    Args:
        layers: The layers, by their names in Keras.
        steps: The layers at work, in order.
        start: Name of the result that stands for the network's input.
    """

    def __init__(self, layers: Mapping[str, nn.Module], steps: Iterable[Step], start: str) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.steps = tuple(steps)
        self.start = start

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the last layer's result.

        Args:
            pictures: Normalised pictures, float32 of shape (batch, 3, height, width).
        """
        results, last = {self.start: pictures}, pictures
        for step in self.steps:
            values = [results[each] if isinstance(each, str) else each for each in step.inputs]
            last = results[step.layer] = self.layers[step.layer](*values)
            for name in step.done:
                del results[name]
        return last

    def height_of(self, parameter: str) -> int:
        """Return the group of a parameter, from 0 at the input: layers with weights in equal numbers.

        Args:
            parameter: The parameter's name, such as ``layers.stem_conv.weight``.
        """
        weighted = [name for name, layer in self.layers.items() if next(layer.parameters(), None) is not None]
        return weighted.index(parameter.split(".")[1]) * min(GROUPS, len(weighted)) // len(weighted)


@dataclass(frozen=True)
class Converted:
    """A network of Keras as a torch module.

    Attributes:
        graph: The network without the layers that only normalise its input.
        scale: What those layers multiply the channels by, float64 of shape (3,).
        shift: What they then add, float64 of shape (3,).
    """

    graph: Graph
    scale: Channels
    shift: Channels


def convert(model: Any, *, follows_size: bool) -> Converted:  # noqa: ANN401 - Keras has no types
    """Convert a functional model of Keras, with pictures as its one input.

    Args:
        model: The model, in Keras's layout of channels last.
        follows_size: Whether the model's padding before steps of two depends on the size of its input.

    Raises:
        GraftError: It has a layer that Graft does not know.
    """
    entries = model.get_config()["layers"]
    start, scale, shift = entries[0]["name"], np.ones(3), np.zeros(3)
    position = 1
    while entries[position]["class_name"] in {"Rescaling", "Normalization"}:
        factor, offset = _affine(entries[position]["config"], model.get_layer(entries[position]["name"]))
        scale, shift = scale * factor, shift * factor + offset
        start = entries[position]["name"]
        position += 1
    remaining = entries[position:]
    inputs = {entry["name"]: tuple(_inputs_of(entry)) for entry in remaining}
    layers = {
        entry["name"]: _layer(entry, _keras_layer(model, entry["name"]), follows_size=follows_size)
        for entry in remaining
    }
    return Converted(Graph(layers, _steps(inputs), start), scale, shift)


def _steps(inputs: Mapping[str, tuple[str | float, ...]]) -> Iterator[Step]:
    """Yield the steps, each with the results that it is the last to need."""
    last_use = {each: name for name, given in inputs.items() for each in given if isinstance(each, str)}
    for name, given in inputs.items():
        yield Step(name, given, tuple(each for each, user in last_use.items() if user == name))


def _keras_layer(model: Any, name: str) -> Any:  # noqa: ANN401 - Keras has no types
    """Return a model's layer; None for an operation, which has no weights and is none of its layers."""
    return next((layer for layer in model.layers if layer.name == name), None)


def _inputs_of(entry: Config) -> Iterator[str | float]:
    """Yield what a layer is given, from its one use in a network."""
    if len(entry["inbound_nodes"]) != 1:
        raise GraftError(f"backbone.name: Keras's layer `{entry['name']}` is used more than once.")
    for value in entry["inbound_nodes"][0]["args"]:
        for each in value if isinstance(value, list) else [value]:
            yield each["config"]["keras_history"][0] if isinstance(each, dict) else float(each)


def _layer(entry: Config, keras_layer: Any, *, follows_size: bool) -> nn.Module:  # noqa: ANN401
    """Return a layer of torch's for one of Keras's."""
    kind, config = entry["class_name"], entry["config"]
    if kind == "Sequential":
        inner = [each for each in config["layers"] if each["class_name"] != "InputLayer"]
        made = [
            _layer(each, layer, follows_size=follows_size)
            for each, layer in zip(inner, keras_layer.layers, strict=True)
        ]
        return nn.Sequential(*made)
    if kind not in LAYERS:
        raise GraftError(f"backbone.name: Graft does not know Keras's layer {kind} (`{entry['name']}`).")
    weights = {} if keras_layer is None else weights_of(keras_layer)
    rank = len(keras_layer.output.shape) if keras_layer is not None else 0
    return LAYERS[kind]({**config, "rank": rank, "follows_size": follows_size}, weights)


def weights_of(layer: Any) -> dict[str, NDArray[np.float32]]:  # noqa: ANN401 - Keras has no types
    """Return the weights of one of Keras's layers by the names that the layer gives them."""
    names = [variable.name for variable in layer.weights]
    return dict(zip(names, (np.asarray(values) for values in layer.get_weights()), strict=True))


def _affine(config: Config, layer: Any) -> tuple[Channels, Channels]:  # noqa: ANN401 - Keras has no types
    """Return what a layer that normalises multiplies the channels by, and then adds, each of shape (3,)."""
    if "scale" in config:
        return np.broadcast_to(config["scale"], 3) + 0.0, np.broadcast_to(config["offset"], 3) + 0.0
    given = config if config.get("mean") is not None else weights_of(layer)
    mean, variance = (np.asarray(given[key], np.float64).reshape(-1) for key in ("mean", "variance"))
    deviation = np.sqrt(np.broadcast_to(variance, 3))
    return 1 / deviation, -np.broadcast_to(mean, 3) / deviation
