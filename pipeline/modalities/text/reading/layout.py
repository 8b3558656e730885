"""The folder of an encoder, on the hub or the disk, and what sentence-transformers noted around it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.text.reading.library import explain, quiet

MODULES_FILE = "modules.json"
POOLING = "Pooling"
NUMBERED = re.compile(r"\d+_")
"""How sentence-transformers begins the names of the folders of its steps."""
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.tiktoken")
SAFE_WEIGHTS = ("model*.safetensors", "*/model*.safetensors")
PICKLED_WEIGHTS = ("pytorch_model*.bin", "*/pytorch_model*.bin")
OTHER_FORMATS = ("onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*", "original/*", "coreml/*")


@dataclass(frozen=True)
class EncodingStep:
    """A step of a sentence-transformers model.

    Attributes:
        kind: Name of the step's class, such as ``Pooling``.
        folder: The step's folder.
    """

    kind: str
    folder: Path


@dataclass(frozen=True)
class Layout:
    """Where the parts of an encoder are.

    Attributes:
        folder: The folder with config.json, the weights and the tokenizer.
        root: The folder of the whole sentence-transformers model; the same folder where there is none.
        modules: The steps after the encoder, in their order; none where the folder is not
            sentence-transformers' own.
    """

    folder: Path
    root: Path
    modules: tuple[EncodingStep, ...] = ()

    @property
    def pooling(self) -> Path | None:
        """The file that says how the vectors of tokens become one; None for none."""
        folders = [module.folder for module in self.modules if module.kind == POOLING]
        return folders[0] / "config.json" if folders else None


def find_layout(folder: Path) -> Layout:
    """Return where the parts of an encoder are.

    Args:
        folder: The folder of a sentence-transformers model, of the transformer inside one, or of an encoder
            alone.

    Raises:
        GraftError: The folder's ``modules.json`` cannot be read, or does not begin with a transformer that is
            there.
    """
    named = Path(os.path.abspath(folder))  # noqa: PTH100 - the hub's cache is of links
    # A link to the inner folder is taken for where it leads, if nothing is said beside the link itself.
    for place in dict.fromkeys([named, named.resolve()]):
        for root in (place, place.parent):
            modules = _read_modules(root, place) if (root / MODULES_FILE).is_file() else ()
            if modules and (root == place or modules[0].folder.resolve() == place.resolve()):
                return _layout_of(root, modules)
    return Layout(named, named, _unlisted_pooling(named) or _unlisted_pooling(named.resolve()))


def _unlisted_pooling(folder: Path) -> tuple[EncodingStep, ...]:
    """Return the step that says how to pool, which is heeded without the list of steps as well."""
    places = [folder / "1_Pooling"]
    if NUMBERED.match(folder.name):
        places.append(folder.parent / "1_Pooling")
    found = next((place for place in places if (place / "config.json").is_file()), None)
    return () if found is None else (EncodingStep(POOLING, found),)


def _read_modules(root: Path, folder: Path) -> tuple[EncodingStep, ...]:
    """Return the steps of a ``modules.json``; none where the file above a folder is something else."""
    path = root / MODULES_FILE
    try:
        listed = sorted(json.loads(path.read_bytes()), key=lambda module: module["idx"])
        steps = [EncodingStep(module["type"].rpartition(".")[2], root / module["path"]) for module in listed]
        if not steps:
            raise ValueError("it lists no steps")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if root != folder and not NUMBERED.match(folder.name):
            return ()
        raise GraftError(
            f"backbone.weights: {path} cannot be read ({reason_of(error)}). {_REMEDY}"
        ) from error
    return tuple(steps)


def _layout_of(root: Path, modules: tuple[EncodingStep, ...]) -> Layout:
    """Return the layout of a sentence-transformers model, whose first step must be a transformer."""
    first = modules[0]
    if first.kind != "Transformer":
        raise GraftError(
            f"backbone.weights: {root} begins with a {first.kind}, and not with a Transformer. Choose "
            "another encoder, or give the folder of a transformer alone."
        )
    if not first.folder.is_dir():
        raise GraftError(
            f"backbone.weights: {root / MODULES_FILE} names the folder {first.folder}, which is not there. "
            f"{_REMEDY}"
        )
    return Layout(first.folder, root, modules[1:])


def fetch(name: str) -> Path:
    """Return the local folder of a model of the hub, downloaded where it is not in the cache.

    Pickled weights are fetched only where there are no others.

    Args:
        name: The hub's name of the model.

    Raises:
        GraftError: The hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            folder = Path(
                snapshot_download(
                    name, allow_patterns=[*SMALL_FILES, *SAFE_WEIGHTS], ignore_patterns=[*OTHER_FORMATS]
                )
            )
            if not any(True for _ in folder.rglob("*.safetensors")):
                snapshot_download(name, allow_patterns=[*PICKLED_WEIGHTS], ignore_patterns=[*OTHER_FORMATS])
    except Exception as error:  # the hub's client raises many unrelated types
        raise explain(name, error) from error
    return folder


_REMEDY = "Mend it, or give the folder of the transformer alone."
