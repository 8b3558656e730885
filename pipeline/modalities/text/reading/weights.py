"""Weights in an encoder: all of the encoder's tensors are there and fit; a head beside it is not counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.architectures import Architecture
from pipeline.modalities.text.reading.library import explain, quiet
from pipeline.modalities.text.reading.storages import read_tensors

FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})
SHOWN = 5


def load_weights(
    folder: Path,
    config: Any,  # noqa: ANN401 - transformers is untyped here
    architecture: Architecture,
) -> Any:  # noqa: ANN401
    """Load a folder's weights in float32 into a model, which is in evaluation mode on the CPU.

    Names may have a prefix, such as ``bert.`` or ``module.``; tensors beside the encoder, such as a head's,
    are left out.

    Args:
        folder: A folder in the hub's layout.
        config: transformers' configuration of the model.
        architecture: The model's class.

    Returns:
        The whole model, of which :meth:`Architecture.part_of` is what encodes.

    Raises:
        GraftError: The weights cannot be read or do not fit: a tensor of the encoder is missing, left over,
            of another shape, of no type of floats, or not finite in float32; or there are two encoders.
    """
    tensors = read_tensors(folder)
    model_class = architecture.load_class()
    try:
        with quiet():
            with torch.device("meta"):
                expected = model_class(config).state_dict().keys()
            tensors = strip_prefix(tensors, expected, folder)
            model, loaded = model_class.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except GraftError:
        raise
    except Exception as error:  # each architecture fails in its own way
        raise explain(folder, error) from error
    _require_fit(model, loaded, tensors, folder)
    return model.eval()


def _require_fit(
    model: Any,  # noqa: ANN401 - as above
    loaded: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    folder: Path,
) -> None:
    """Raise GraftError with the first tensors that do not fit, if there are any."""
    faults = [
        *(f"`{name}` is missing" for name in sorted(loaded["missing_keys"]) if not _is_pooler(name)),
        *(f"`{item[0]}` has another shape" for item in sorted(loaded["mismatched_keys"])),
        *(f"`{name}` is left over" for name in _left_over(model, loaded["unexpected_keys"], tensors)),
        *(f"`{name}` is of type {kind}" for name, kind in _no_floats(model, tensors)),
        *(f"`{name}` is not finite in float32" for name in _not_finite(model)),
    ]
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise GraftError(
            f"backbone.weights: {folder} does not fit its own configuration: {'; '.join(faults[:SHOWN])}"
            f"{more}. Random weights are never filled in."
        )


def rows_of(model: Any, folder: Path) -> int:  # noqa: ANN401 - as above
    """Return the number of tokens that a model has a vector for.

    Args:
        model: A transformers model.
        folder: Where it was read from, for the error.

    Raises:
        GraftError: It has no table of tokens, as one of characters or pictures.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError) as error:
        raise GraftError(
            f"backbone.weights: the {type(model).__name__} of {folder} has no table of vectors of tokens. "
            "Choose an encoder of texts."
        ) from error


def strip_prefix(
    tensors: Mapping[str, torch.Tensor], expected: Iterable[str], folder: Path
) -> dict[str, torch.Tensor]:
    """Return tensors without the prefix under which most of them are those of a model.

    Args:
        tensors: Tensors by their stored names.
        expected: The names in the model.
        folder: Where they were read from, for the error.

    Returns:
        The tensors under the prefix, without it; all of them where there is none.

    Raises:
        GraftError: Two prefixes have whole encoders with different tensors, as a teacher and a student.
    """
    wanted = set(expected)
    under: dict[str, set[str]] = {"": wanted & tensors.keys()}
    for name in sorted(tensors):
        parts = name.split(".")
        for depth in range(1, len(parts)):
            rest = ".".join(parts[depth:])
            if rest in wanted:
                under.setdefault(name.removesuffix(rest), set()).add(rest)
    best, *others = sorted(under, key=lambda prefix: (-len(under[prefix]), len(prefix), prefix))
    core = {name for name in under[best] if not _is_pooler(name)}
    for other in others:
        if core and core <= under[other] and not _same(tensors, best, other, core):
            raise GraftError(
                f"backbone.weights: {folder} holds more than one encoder: {_shown(best)} and "
                f"{_shown(other)}. Save one of them alone, in a folder of its own."
            )
    # A name outside the prefix could be taken for one of the model's own, and is a head's.
    return {name.removeprefix(best): value for name, value in tensors.items() if name.startswith(best)}


def _same(tensors: Mapping[str, torch.Tensor], first: str, second: str, names: Iterable[str]) -> bool:
    """Say whether two prefixes have equal tensors, as where an encoder was stored twice."""
    pairs = [(tensors[first + name], tensors[second + name]) for name in names]
    return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)


def _shown(prefix: str) -> str:
    """Return how an error names a prefix."""
    return f"`{prefix}*`" if prefix else "one without a prefix"


def _is_pooler(name: str) -> bool:
    """Say whether a tensor is of BERT's own pooler, which the encoder is used without."""
    return name.startswith("pooler.")


def _left_over(
    model: Any,  # noqa: ANN401
    unexpected: Iterable[str],
    tensors: Mapping[str, torch.Tensor],
) -> list[str]:
    """Return the names of weights that belong into the model and have no place in it.

    What lies beside the model's own modules is a head or a decoder. What is no matrix or vector of floats is
    no weight: older versions stored masks and positions.
    """
    children = {name for name, _ in model.named_children()}
    names = []
    for name in sorted(unexpected):
        own = name.removeprefix(f"{model.base_model_prefix}.")
        tensor = tensors.get(name)
        is_mask = tensor is not None and (not tensor.is_floating_point() or tensor.ndim not in {1, 2, 3})
        if own.partition(".")[0] in children and not is_mask and not _is_pooler(own):
            names.append(name)
    return names


def _no_floats(model: Any, tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:  # noqa: ANN401
    """Return the names and types of stored parameters that are of integers, or of floats with a scale."""
    names = {name for name, _ in model.named_parameters()}
    return [
        (name, str(value.dtype).removeprefix("torch."))
        for name, value in sorted(tensors.items())
        if name in names and value.dtype not in FLOATS
    ]


def _not_finite(model: Any) -> list[str]:  # noqa: ANN401
    """Return the names of parameters with a value that is infinite or no number in float32."""
    return [name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())]
