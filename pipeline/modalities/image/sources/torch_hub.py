"""The networks of a checkout for PyTorch Hub: ``hub:FOLDER:ENTRY``.

The code in the folder is run, in this process and with its rights, as ``torch.hub.load`` runs it. Nothing is
cloned or downloaded for it; what an entry itself downloads when it is asked for its weights is its own.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.modalities.image.names import HUB
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.sources.finding import FoundHead, find_head
from pipeline.modalities.image.sources.heads import fit_body, pool
from pipeline.modalities.image.weights import describe_hub_failure, read_weights
from pipeline.modalities.reasons import reason_of

KEY = "backbone.name"
PRETRAINED = "pretrained"
SIZES_PX = (224, 384, 256, 299, 518, 96, 64, 32)
"""Sides of the pictures that a network is tried on, the first of which that it takes is its own."""
CROP_PCT = 0.875
MEND = "Mend hubconf.py, or name another entry."
OWN_WEIGHTS = (
    "Put the weights where its code looks for them, such as torch's cache (TORCH_HOME), or name a file of "
    "them: `weights: FILE.safetensors` or `.pth`."
)
log = logging.getLogger("graft")


class NoNetworkError(TypeError):
    """An entry returned something else than a network."""


@dataclass(frozen=True)
class Entry:
    """A function of a ``hubconf.py`` that creates a network.

    Attributes:
        folder: The folder that holds ``hubconf.py``.
        name: Name of the function.
        takes_pretrained: Whether it has an argument ``pretrained``.
    """

    folder: Path
    name: str
    takes_pretrained: bool

    def __str__(self) -> str:
        return f"{HUB}:{self.folder}:{self.name}"

    def create(self, *, pretrained: bool) -> nn.Module:
        """Call the function, and return its network in evaluation mode and in float32, on the CPU.

        Args:
            pretrained: Value of the argument of that name, where the function has one.

        Raises:
            Exception: Whatever the function raises.
        """
        options = {PRETRAINED: pretrained} if self.takes_pretrained else {}
        # What the code prints is no result of ours.
        with contextlib.redirect_stdout(sys.stderr):
            load: Callable[..., object] = torch.hub.load
            network = load(str(self.folder), self.name, source="local", **options)
        if not isinstance(network, nn.Module):
            raise NoNetworkError(f"it returns {type(network).__name__}, which is no torch.nn.Module")
        return network.to("cpu", torch.float32).eval()


def create(name: str, classes: int | None = None, size_px: int | None = None) -> nn.Module:
    """Create a network without its weights, as :meth:`NetworkSource.create` describes it."""
    entry = _find(name)
    network = _call(entry)
    return _behead(network, _look_at(network, entry, size_px), classes)


def create_pretrained(name: str, size_px: int | None = None) -> nn.Module:
    """Create a network with the weights that its entry gives it, by ``pretrained=True``.

    Raises:
        GraftError: The entry has no such argument, cannot have its weights here, or gives random ones.
    """
    entry = _find(name)
    if not entry.takes_pretrained:
        raise GraftError(
            f"backbone.weights: hub needs an entry with an argument `{PRETRAINED}`, which {entry.name} of "
            f"{entry.folder} has not. Name a file of its weights: weights: FILE"
        )
    try:
        network, again = (_seeded(seed, lambda: entry.create(pretrained=True)) for seed in (0, 1))
    except (Exception, SystemExit) as error:  # foreign code, which may raise anything
        raise _failure(entry, error, asked=True) from error
    found = _look_at(network, entry, size_px)
    _refuse_chance(network, again, found, entry)
    return _told(_behead(network, found, None).eval(), found, entry)


def create_from(
    name: str, weights: str, mapping: Literal["names", "order"], size_px: int | None = None
) -> nn.Module:
    """Create a network with the weights of a file, as :meth:`FileSource.create_from` does."""
    entry = _find(name)
    network = _call(entry)
    found = _look_at(network, entry, size_px)
    pooled = _behead(network, found, None)
    fit_body(pooled, read_weights(weights, mapping), found.head, mapping, weights)
    return _told(pooled.eval(), found, entry)


def _find(name: str) -> Entry:
    """Return the entry that a name, ``FOLDER:ENTRY``, stands for.

    Raises:
        GraftError: There is no such folder or entry, or the folder's code does not run.
    """
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise GraftError(f"{KEY}: `{HUB}:{name}` is not of the form {HUB}:FOLDER:ENTRY.")
    folder = locate(place, KEY)
    if not (folder / "hubconf.py").is_file():
        raise GraftError(f"{KEY}: {folder} has no hubconf.py, which a checkout for PyTorch Hub has.")
    entries = _entries_of(folder)
    if function not in entries:
        near = difflib.get_close_matches(function, entries, n=5, cutoff=0.4) or sorted(entries)[:5]
        raise GraftError(f"{KEY}: {folder} has no entry `{function}`. It has {', '.join(near) or 'none'}.")
    return Entry(folder, function, PRETRAINED in inspect.signature(entries[function]).parameters)


def _entries_of(folder: Path) -> dict[str, Callable[..., Any]]:
    """Run a folder's ``hubconf.py``, and return its functions by their names."""
    spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with _on_path(folder), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code, which may raise anything
        raise GraftError(f"{KEY}: {folder / 'hubconf.py'} does not run ({_reason(error)}).") from error
    return {
        name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")
    }


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let the modules of a folder be imported, as ``torch.hub.load`` does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _call(entry: Entry) -> nn.Module:
    """Create an entry's network without asking for its weights."""
    try:
        return entry.create(pretrained=False)
    except (Exception, SystemExit) as error:  # foreign code, which may raise anything
        raise _failure(entry, error, asked=False) from error


def _failure(entry: Entry, error: BaseException, *, asked: bool) -> GraftError:
    """Return the error for an entry that gave no network, or not with its weights.

    Args:
        entry: The entry.
        error: What it raised.
        asked: Whether it was asked for its weights, which it may be that it cannot have here.
    """
    if isinstance(error, NoNetworkError):
        return GraftError(f"{KEY}: {entry} did not give a network ({reason_of(error)}). Name another entry.")
    if isinstance(error, SystemExit):
        return GraftError(f"{KEY}: {entry} did not give a network ({_reason(error)}). {MEND}")
    if asked:
        return describe_hub_failure(str(entry), error, "the entry's own code", OWN_WEIGHTS)
    return GraftError(f"{KEY}: {entry} did not give a network ({reason_of(error)}). {MEND}")


def _reason(error: BaseException) -> str:
    """Return the reason of an error, or that the code ended its process, whose reason is but a number."""
    return f"it exits, with `{error}`" if isinstance(error, SystemExit) else reason_of(error)


def _look_at(network: nn.Module, entry: Entry, size_px: int | None) -> FoundHead:
    """Return the head of an entry's network."""
    return find_head(network, (size_px,) if size_px else SIZES_PX, str(entry))


def _behead(network: nn.Module, found: FoundHead, classes: int | None) -> PooledNetwork:
    """Return a body with a linear head, of an entry's network."""
    config = {
        "input_size": (3, found.size_px, found.size_px),
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "interpolation": "bilinear",
        "crop_pct": CROP_PCT,
        "crop_mode": "center",
    }
    if found.head is None:
        return PooledNetwork(network, found.features, classes or 1, config, found.size_px)
    return pool(network, found.head, classes, config, found.size_px)


def _seeded(seed: int, create: Callable[[], nn.Module]) -> nn.Module:
    """Create a network with torch's source of chance at a seed, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return create()


def _refuse_chance(network: nn.Module, again: nn.Module, found: FoundHead, entry: Entry) -> None:
    """Raise GraftError where the body's tensors are other ones each time: they are random, not pretrained."""
    other = again.state_dict()
    for name, value in network.state_dict().items():
        is_head = found.head is not None and name.startswith(f"{found.head}.")
        if not is_head and not torch.equal(value, other[name]):
            raise GraftError(
                f"backbone.weights: {entry} gives `{name}` other values each time, even with "
                f"{PRETRAINED}=True: they are not pretrained. Name a file of its weights: weights: FILE"
            )


def _told(network: nn.Module, found: FoundHead, entry: Entry) -> nn.Module:
    """Say what was assumed of a network whose code says nothing of its input."""
    head = f"its layer `{found.head}`" if found.head else "nothing, since its outputs are features"
    log.info(
        "backbone.name: %s is assumed to take pictures of %d pixels with ImageNet's mean and standard"
        " deviation (image.size, image.mean and image.std say otherwise); the new head replaces %s.",
        entry,
        found.size_px,
        head,
    )
    return network
