"""The backbones of pictures that can be used here: files in packages, caches, and names of libraries."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from pipeline.files.shipped import find_shipped
from pipeline.modalities.headers import Shape, count_parameters, read_shapes
from pipeline.modalities.image.names import KERAS, TORCHVISION
from pipeline.modalities.offers import MOST_LISTED, Offer

NEAREST = 6
MOST_COUNTED = MOST_LISTED  # networks that are created, without memory for weights, to count their parameters
COUNTER = "num_batches_tracked"
KIND = "image"
WELL_KNOWN = (
    ("mobilenetv4_conv_small.e2400_r224_in1k", 3.8),
    ("mobilenetv3_large_100.ra_in1k", 5.5),
    ("resnet18.a1_in1k", 11.7),
    ("vit_small_patch14_dinov2.lvd142m", 22.1),
    ("convnext_tiny.fb_in22k", 28.6),
    ("vit_base_patch14_dinov2.lvd142m", 86.6),
)
"""Names of networks of several sizes, and their published millions of parameters."""


def list_offers(find: str | None) -> Iterator[Offer]:
    """Yield the backbones whose weights are here, and, where a text is searched for, those of libraries."""
    for file in find_shipped():
        if not _is_of_transformers(file.path.parent):
            yield from _of_file(file.path, file.source, f"package {file.package}", file.licence)
    yield from _of_hub_cache()
    yield from _of_torch_cache()
    if find is not None:
        yield from _of_timm(find)
        yield from _of_torchvision(find)
        yield from _of_keras(find)


def _is_of_transformers(folder: Path) -> bool:
    """Say whether a folder holds one of transformers' networks, such as an encoder of texts."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _of_file(path: Path, source: str, place: str, licence: str | None) -> Iterator[Offer]:
    """Yield what is known of a file: which networks near its name its tensors fit; nothing for other files.

    Args:
        path: The file.
        source: Value of ``backbone.weights`` that leads to it.
        place: Where it is, for people.
        licence: Its licence, or None.
    """
    offer = Offer(KIND, place, is_here=True, name=None, weights=source, licence=licence)
    if path.name.endswith((".keras", ".weights.h5")):
        yield replace(offer, note=f"a file of Keras's: NAME is {KERAS}: and the name of its application")
        return
    shapes = read_shapes(path)
    if not shapes:
        return
    offer = replace(offer, parameters=sum(map(math.prod, shapes.values())))
    fits = [fit for name in _near(path.stem) if (fit := _fit(name, shapes))]
    if not fits:
        yield replace(
            offer, note="NAME is not known: no network of timm's with a name near it has its tensors"
        )
        return
    first, *others = fits
    note = f"fits {', '.join(fit.name for fit in others)}, too: only its answers tell" if others else None
    mapping = first.mapping if first.mapping != "names" else None
    yield replace(offer, name=first.name, mapping=mapping, takes=f"{first.size_px} pixels", note=note)


def _near(stem: str) -> list[str]:
    """Return names of timm's networks that are near the name of a file."""
    import timm

    words = re.sub(r"[^a-z0-9]+", "_", stem.lower())
    words = re.sub(r"_[0-9a-f]{8}$", "", words)  # the beginning of a hash
    known = timm.list_models()
    inside = [name for name in known if name == words or name.endswith(f"_{words}")]
    return list(dict.fromkeys([*inside, *difflib.get_close_matches(words, known, NEAREST, 0.7)]))


@dataclass(frozen=True)
class FittingNetwork:
    """A network whose tensors have the shapes of a file's.

    Attributes:
        name: timm's name of the network.
        mapping: Value of ``backbone.mapping``.
        size_px: Side of the pictures that it takes, in pixels.
    """

    name: str
    mapping: str
    size_px: int


def _fit(name: str, shapes: Mapping[str, Shape]) -> FittingNetwork | None:
    """Return how a file's tensors fit one of timm's networks; None if they do not."""
    import timm
    import torch

    with torch.device("meta"):
        network = timm.create_model(name)
    size_px = int(network.pretrained_cfg["input_size"][-1])
    expected = _kinds({key: tuple(value.shape) for key, value in network.state_dict().items()})
    given = _kinds(shapes)
    if dict(given) == dict(expected):
        return FittingNetwork(name, "names", size_px)
    bare = [[(key.rpartition(".")[2], shape) for key, shape in each] for each in (given, expected)]
    return FittingNetwork(name, "order", size_px) if bare[0] == bare[1] else None


def _kinds(shapes: Mapping[str, Shape]) -> list[tuple[str, Shape]]:
    """Return the names and shapes of tensors without those that only count."""
    return [(key, tuple(shape)) for key, shape in shapes.items() if not key.endswith(COUNTER)]


def _of_hub_cache() -> Iterator[Offer]:
    """Yield timm's networks in the cache of Hugging Face."""
    from pipeline.modalities.caches import cached_folders

    for repository, folder in cached_folders():
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            pretrained = config["pretrained_cfg"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        weights = folder / "model.safetensors"
        if not weights.is_file() and not (folder / "pytorch_model.bin").is_file():
            continue
        owner, _, name = repository.partition("/")
        yield Offer(
            kind=KIND,
            place="cache of Hugging Face",
            is_here=True,
            name=name if owner == "timm" else f"hf-hub:{repository}",
            weights="hub",
            parameters=count_parameters(weights) if weights.is_file() else None,
            takes=f"{pretrained.get('input_size', [3, 224, 224])[-1]} pixels",
            licence=pretrained.get("license"),
        )


def _of_torch_cache() -> Iterator[Offer]:
    """Yield the files in the cache of PyTorch Hub: torchvision's by their names, others as files."""
    from torch.hub import get_dir

    files = sorted((Path(get_dir()) / "checkpoints").glob("*.pt*"))
    known = _torchvision_files() if files else {}
    for path in files:
        place = "cache of PyTorch Hub"
        if path.name in known:
            yield _torchvision_offer(known[path.name], place, is_here=True)
        else:
            yield from _of_file(path, str(path), place, None)


def _torchvision_files() -> dict[str, str]:
    """Return torchvision's name of each of its sets of weights, ``NETWORK.SET``, by the name of its file."""
    from torchvision import models

    return {
        Path(each.url).name: f"{name}.{each.name}"
        for name in models.list_models(module=models)
        for each in models.get_model_weights(name)
    }


def _torchvision_offer(name: str, place: str, *, is_here: bool) -> Offer:
    """Return what torchvision says of one of its sets of weights."""
    from torchvision import models

    network, _, tag = name.partition(".")
    weights = models.get_model_weights(network)[tag]
    return Offer(
        kind=KIND,
        place=place,
        is_here=is_here,
        name=f"{TORCHVISION}:{name}",
        weights="hub",
        parameters=weights.meta.get("num_params"),
        takes=f"{weights.transforms().crop_size[0]} pixels",
        licence=weights.meta.get("license"),
    )


def _of_torchvision(find: str) -> Iterator[Offer]:
    """Yield torchvision's sets of weights whose names hold a text."""
    for name in _torchvision_files().values():
        if find.lower() in f"{TORCHVISION}:{name}".lower():
            yield _torchvision_offer(name, "torchvision", is_here=False)


def _of_timm(find: str) -> Iterator[Offer]:
    """Yield timm's pretrained networks whose names hold a text, the first of them with their parameters."""
    import timm
    import torch

    names = iter([name for name in timm.list_pretrained() if find.lower() in name])
    for name in islice(names, MOST_COUNTED):
        with torch.device("meta"):
            network = timm.create_model(name)
        yield _timm_offer(name, sum(value.numel() for value in network.parameters()))
    yield from (_timm_offer(name, None) for name in names)


def _timm_offer(name: str, parameters: int | None) -> Offer:
    """Return what timm says of one of its networks."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return Offer(
        kind=KIND,
        place="timm",
        is_here=False,
        name=name,
        weights="hub",
        parameters=parameters,
        takes=f"{config.input_size[-1]} pixels",
        licence=config.license,
    )


def _of_keras(find: str) -> Iterator[Offer]:
    """Yield Keras's networks whose names hold a text; none where Keras is not installed."""
    if find_spec(KERAS) is None:
        return
    from pipeline.modalities.image.sources.keras_models import SIZES_PX, USUAL_SIZE_PX

    for name in _keras_names():
        if find.lower() in f"{KERAS}:{name}".lower():
            takes = f"{SIZES_PX.get(name, USUAL_SIZE_PX)} pixels"
            place, written = "keras.applications", f"{KERAS}:{name}"
            yield Offer(KIND, place, is_here=False, name=written, weights="hub", takes=takes)


def _keras_names() -> list[str]:
    """Return the names of Keras's networks, which its file lists, without the seconds of importing it."""
    package = find_spec(KERAS)
    places = package.submodule_search_locations if package else None
    listed = [Path(place, "applications", "__init__.py") for place in places or ()]
    lines = [path.read_text(encoding="utf-8") for path in listed if path.is_file()]
    return re.findall(r"import ([A-Z]\w+) as \1", "\n".join(lines))
