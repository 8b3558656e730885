"""What a training depends on: one that goes on has to be the same training as before."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pipeline
import serving.model.inputs
from pipeline.files.samples import Sample, digest
from pipeline.files.sources import hash_code_folder, hash_source
from pipeline.finetune.plan import Plan
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.machine.settings import Settings, cpu_flags
from pipeline.machine.versions import TRAINING_PACKAGES, versions_of
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import without_places
from pipeline.recipe.sections import Recipe

Identity = Mapping[str, Any]
"""Nested JSON values by the names that people are told."""
# Keys that change neither the weights nor what is kept of them.
WITHOUT_EFFECT = frozenset({"finetune.checkpoint_minutes"})
# Rooms whose code a training runs through; the kind of input's own room is one more where it is a plug-in.
ROOMS = ("finetune", "modalities", "tasks", "machine", "artifacts")
PACKAGES = (
    "graft-ml",
    "numpy",
    "scipy",
    "torchvision",
    "onnxruntime-gpu",
    "onnxruntime",
    "peft",
    "accelerate",
    "albumentations",
)
# Prefixes of the instruction sets that numeric libraries choose their kernels by.
VECTOR_FLAGS = ("avx", "fma", "amx", "sse4", "asimd", "sve")


def identity_of(
    recipe: Recipe, settings: Settings, samples: Sequence[Sample], weights_sha256: str, processes: int
) -> dict[str, Any]:
    """Return all that the trainings of a recipe depend on, on this machine.

    Args:
        recipe: The recipe.
        settings: Device, precision and threads of the training.
        samples: The samples that train and select.
        weights_sha256: SHA-256, in hex, of the pretrained tensors.
        processes: Number of processes that share the trainings.
    """
    packages = (*PACKAGES, *TRAINING_PACKAGES, *find_modality(recipe.modality).packages)
    bare = without_places(recipe)
    sections = {name: getattr(bare, name) for name in ("backbone", *recipe.own_keys(), "finetune")}
    files = {key: hash_source(place, key) for key, place in recipe.finetune.places().items()}
    folder = recipe.backbone.code()
    if folder is not None:
        files["backbone.name"] = hash_code_folder(folder, "backbone.name")
    return {
        **{name: section.model_dump(mode="json", by_alias=True) for name, section in sections.items()},
        "seed": recipe.seed,
        "samples": digest(samples),
        "pretrained weights": weights_sha256,
        "files": files,
        "device": settings.device,
        "precision": settings.precision,
        "threads": settings.threads,
        "processes": processes,
        "versions": versions_of(*packages) | {"python": platform.python_version()},
        **machine(),
        "Graft's code": hash_code(),
    }


def machine() -> dict[str, Any]:
    """Return what the last bit of a computation depends on besides its inputs and the libraries."""
    import torch
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    flags = sorted(flag for flag in cpu_flags() if flag.startswith(VECTOR_FLAGS))
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return {
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "CPU instruction sets": " ".join(flags),
        "threads of BLAS": max(pools, default=1),
        **({"GPU": gpu[0]} if gpu else {}),
    }


def training_identity(plan: Plan, strategy: Strategy) -> dict[str, Any]:
    """Return what one training depends on besides: its plan and its strategy."""
    choices = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(strategy).items()))
    return {"plan": asdict(plan), "strategy": f"{type(strategy).__name__}({choices})"}


def hash_code() -> str:
    """Return the SHA-256, in hex, of the sources of the rooms that a training runs through."""
    root, inputs = Path(pipeline.__file__).parent, Path(serving.model.inputs.__file__).parent
    digested = hashlib.sha256()
    for folder in (*(root / room for room in ROOMS), inputs):
        for path in sorted(folder.rglob("*.py")):
            digested.update(f"{path.relative_to(folder.parent)}\0".encode() + path.read_bytes())
    return digested.hexdigest()


def differences(kept: Identity, current: Identity) -> list[str]:
    """Return what differs between two identities, a phrase for each key, with both values.

    Args:
        kept: The identity of the training that is not finished.
        current: The identity of what is to be carried out now.
    """
    before, now = dict(_leaves(kept)), dict(_leaves(current))
    changed = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
    return [
        f"{name} ({_shown(before.get(name))} before, {_shown(now.get(name))} now)"
        for name in changed
        if name not in WITHOUT_EFFECT
    ]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON value
    """Yield each value of nested dictionaries, by its keys joined with dots."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key))
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a value for people: hashes and long lists by their start."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
