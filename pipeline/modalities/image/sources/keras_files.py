"""The weights of Keras's networks in files: ``.keras``, ``.weights.h5``, and the older ``.h5``."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.modalities.image.sources.keras_start import Application
from pipeline.modalities.image.weight_bytes import OF_KERAS, explain_bytes
from pipeline.modalities.reasons import reason_of

Values = NDArray[np.generic]
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
    said = explain_bytes(path) if path.is_file() else ("it is no file", "")
    if said is not None and said != OF_KERAS:
        what, remedy = said
        raise GraftError(
            f"{KEY}: {path} is no file of Keras's: {what}. {remedy or 'Name one that Keras saved.'}"
        )
    body = application.create()
    try:
        stored = dict(_read(path))
        classes = None if len(stored) <= len(weighted(body)) else _classes_of(stored)
        full = None if classes is None else application.create(classes=classes)
        model = body if full is None else full
        _load(model, stored, path)
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


def _load(model: Any, stored: Mapping[str, Sequence[Values]], path: Path) -> None:  # noqa: ANN401
    """Load a file into a network of as many layers, and make sure that all of its weights are the file's.

    Args:
        model: The network.
        stored: What the file holds of each layer.
        path: The file.

    Raises:
        ValueError: The file is another network's. Keras raises other types, too.
    """
    if len(stored) != len(weighted(model)):
        raise ValueError(f"it has {len(stored)} layers with weights, the network {len(weighted(model))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts that other versions of Keras file elsewhere
        model.load_weights(str(path))
    known = {_digest(values) for layer in stored.values() for values in layer}
    for layer in model.layers:
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True):
            if _digest(values) not in known:
                raise ValueError(f"`{layer.name}/{variable.name}` of the network is not in the file")


def _digest(values: Values) -> bytes:
    """Return a hash of some weights."""
    return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).digest()


def _classes_of(stored: Mapping[str, Sequence[Values]]) -> int:
    """Return the number of outputs of a file's head: its last dense layer, or else its last convolution."""
    for kind in ("dense", "conv2d"):
        names = [name for name in stored if re.fullmatch(rf"{kind}(_\d+)?", name)]
        # Older files have their layers in order, the last of which is the head and has a name of its own.
        if names and list(stored) == sorted(stored):
            return int(stored[max(names, key=_number)][-1].shape[-1])
    return int(list(stored.values())[-1][-1].shape[-1])


def _number(name: str) -> int:
    """Return the number behind a layer's name; 0 for the first of its class, which has none."""
    return int(name.rpartition("_")[2]) if "_" in name else 0


def _read(path: Path) -> Iterator[tuple[str, list[Values]]]:
    """Yield the name of each layer that has weights in a file, and these."""
    import h5py

    with zipfile.ZipFile(path) if path.suffix == ".keras" else path.open("rb") as file:
        content = io.BytesIO(file.read(WEIGHTS_IN_ARCHIVE)) if isinstance(file, zipfile.ZipFile) else file
        with h5py.File(content, "r") as document:
            older = document.get("model_weights", document)
            if "layer_names" in older.attrs:
                yield from _read_older(older)
            else:
                for name, layer in document["layers"].items():
                    values = list(_values_of(layer))
                    if values:
                        yield name, values


def _read_older(document: Any) -> Iterator[tuple[str, list[Values]]]:  # noqa: ANN401 - h5py has no types
    """Yield the layers of a file of the older kind."""
    for name in map(_text, document.attrs["layer_names"]):
        names = [_text(each) for each in document[name].attrs["weight_names"]]
        if names:
            yield name, [document[name][each][()] for each in names]


def _values_of(layer: Any) -> Iterator[Values]:  # noqa: ANN401 - h5py has no types
    """Yield the weights of a layer, and of the layers in it, but not the seeds of its chance."""
    own = layer.get("vars", {})
    for number in sorted(own, key=int):
        yield own[number][()]
    for each in layer.get("layers", {}).values():
        yield from _values_of(each)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
