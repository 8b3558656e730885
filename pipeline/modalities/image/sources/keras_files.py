"""The weights of Keras's networks in files: ``.keras``, ``.weights.h5``, and the older ``.h5``."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import GraftError
from pipeline.modalities.image.sources.keras_start import Application
from pipeline.modalities.reasons import reason_of

KEY = "backbone.weights"
SUFFIXES = (".keras", ".h5", ".hdf5")
WEIGHTS_IN_ARCHIVE = "model.weights.h5"


def load_file(application: Application, path: Path) -> tuple[Any, Any | None]:
    """Load a file's weights into a network.

    Args:
        application: The network.
        path: The file, of a network with its head, for any number of classes, or without it.

    Returns:
        Keras's network up to its pooled features, and the one with the file's head; None where the file has
        no head.

    Raises:
        GraftError: The file is none of Keras's, or of another network.
    """
    if not path.name.endswith(SUFFIXES):
        raise GraftError(f"{KEY}: {path} is no file of Keras's: its name ends with {', '.join(SUFFIXES)}.")
    body = application.create()
    try:
        full = _with_head(application, path)
        model = body if full is None else full
        _refuse_other_count(model, path)
        model.load_weights(str(path))
    except GraftError:
        raise
    except Exception as error:  # h5py, zipfile and Keras raise many unrelated types
        raise GraftError(
            f"{KEY}: {path} does not fit {application} ({reason_of(error)}). Check backbone.name, and its "
            "arguments, such as MobileNetV2(alpha=0.35)."
        ) from error
    if full is not None:
        for ours, theirs in zip(weighted(body), weighted(full), strict=False):
            ours.set_weights(theirs.get_weights())
    return body, full


def weighted(model: Any) -> list[Any]:  # noqa: ANN401 - Keras has no types
    """Return a network's layers that have weights, in order."""
    return [layer for layer in model.layers if layer.weights]


def _with_head(application: Application, path: Path) -> Any | None:  # noqa: ANN401 - Keras has no types
    """Return a network with a head of as many classes as a file's, and random weights; None for a file
    without a head.
    """  # noqa: D205 - one sentence
    shapes = dict(_shapes(path))
    full = application.create(classes=1000)
    head = weighted(full)[-1]
    place = shapes.get(_name_of(full, head)) or shapes.get(head.name)
    if place is None or len(shapes) < len(weighted(full)):
        return None
    classes = place[-1]
    return full if classes == head.weights[-1].shape[-1] else application.create(classes=classes)


def _name_of(model: Any, layer: Any) -> str:  # noqa: ANN401 - Keras has no types
    """Return the name under which Keras 3 files a layer: its class in lower case, and its number among these.

    Args:
        model: The network.
        layer: One of its layers.
    """
    kind = type(layer)
    number = [each for each in model.layers if type(each) is kind].index(layer)
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind.__name__).lower()
    return f"{snake}_{number}" if number else snake


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name of each layer that has weights in a file, and the shape of the last of these."""
    import h5py

    with zipfile.ZipFile(path) if path.suffix == ".keras" else path.open("rb") as file:
        content = io.BytesIO(file.read(WEIGHTS_IN_ARCHIVE)) if isinstance(file, zipfile.ZipFile) else file
        with h5py.File(content, "r") as document:
            yield from _shapes_in(document)


def _shapes_in(document: Any) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: ANN401 - h5py has no types
    """Yield the names and shapes of a file that is open."""
    older = document.get("model_weights", document)
    if "layer_names" in older.attrs:
        for name in map(_text, older.attrs["layer_names"]):
            names = [_text(each) for each in older[name].attrs["weight_names"]]
            if names:
                yield name, older[name][names[-1]].shape
        return
    for name, layer in document["layers"].items():
        last = _last_of(layer)
        if last is not None:
            yield name, last


def _last_of(layer: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - h5py has no types
    """Return the shape of the last of a layer's weights; None where it has none, but perhaps a seed."""
    if "vars" in layer and len(layer["vars"]):
        values = layer["vars"]
        shape: tuple[int, ...] = values[str(len(values) - 1)].shape
        return shape
    inner = layer.get("layers", {})
    shapes = [_last_of(each) for each in inner.values()]
    return next((each for each in reversed(shapes) if each is not None), None)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _refuse_other_count(model: Any, path: Path) -> None:  # noqa: ANN401 - Keras has no types
    """Raise GraftError where a file has another number of layers with weights than a network."""
    here, there = len(weighted(model)), len(dict(_shapes(path)))
    if here != there:
        raise GraftError(
            f"{KEY}: {path} does not fit {model.name}: it has {there} layers with weights, "
            f"the network {here}. Check backbone.name."
        )
