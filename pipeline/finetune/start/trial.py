"""The trial of a backbone, in seconds and before anything is trained: can it be fine-tuned and served at all?

It asks what every stage after it takes for granted: an answer is finite, depends on its own sample alone,
and not on padding, on the batch or on what came before; a linear head can be set; and the exported network
gives the same features, at every length and batch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import cache_folder
from pipeline.finetune.start.features import Extractor, Features
from pipeline.modalities.probing import Probing
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.training import Pretrained
from serving.model.inputs.item import Preprocessor

log = logging.getLogger("graft")
EDITION = 1
"""Number of the trial, to be raised when it asks for more: what passed an earlier one is then tried again."""
TOLERANCE = 1e-3
"""Largest difference of a feature, as a share of the largest feature, that rounding may explain."""
Array = NDArray[Any]


def try_backbone(extractor: Extractor, name: str) -> None:
    """Try a backbone, unless the same one has passed here before.

    Args:
        extractor: The frozen backbone, whose exported form is tried too.
        name: Its name in the recipe, for the error.

    Raises:
        GraftError: It cannot be fine-tuned or served, with the reason in one line.
    """
    if not extractor.processes.is_first:
        return
    passed = cache_folder() / "tried" / f"{extractor.cache.stem}-{EDITION}"
    if passed.is_file():
        return
    try:
        carry_out(extractor)
    except GraftError as error:
        raise GraftError(f"backbone.name: {name} cannot be used: {error}. Choose another.") from error
    try:
        atomic.write_bytes(passed, b"")
    except OSError as error:
        log.debug("the passed trial of %s is not kept (%s)", name, error)


def carry_out(extractor: Extractor) -> None:
    """Try a backbone in torch, with a head, and exported, as :func:`try_backbone` describes it.

    Raises:
        GraftError: The reason, as a clause.
    """
    pretrained = extractor.pretrained
    long, short, other = _probes_of(extractor)
    # From long to short and back: a network may change for good with what it first sees.
    batches = [[long], [short], [other], [long]]
    alone = [_embed(pretrained, batch)[0] for batch in batches]
    _require_same(alone[0], alone[3], "its features of a sample are not the same twice")
    together = _embed(pretrained, [short, long])
    _require_same(
        np.stack([alone[1], alone[0]]),
        together,
        "its features of a sample change with the samples beside it"
        + (", or with the padding to their length" if len(short) != len(long) else ""),
    )
    _try_head(pretrained, [short, long], alone[0].size)
    runs = [([long], alone[:1]), ([other], alone[2:3]), ([short, long], [alone[1], alone[0]])]
    for arrays, features in runs:
        feeds = pretrained.preprocessor.collate(arrays)
        try:
            exported = extractor.session.run(None, dict(feeds))[0]
        except GraftError:
            raise
        except Exception as error:  # onnxruntime raises one type for each of its status codes
            raise GraftError(
                f"exported to ONNX, it does not run on {_describe(feeds)} ({reason_of(error)})"
            ) from error
        _require_same(
            np.stack(features), exported, f"exported to ONNX, its features of {_describe(feeds)} differ"
        )


def _probes_of(extractor: Extractor) -> Sequence[Array]:
    """Return three samples, the first of them the longest; copies of a blank one for kinds that give none."""
    preprocessor: Preprocessor = extractor.pretrained.preprocessor
    if isinstance(extractor.modality, Probing):
        return extractor.modality.probes(preprocessor)
    return [preprocessor.blank()] * 3


def _embed(pretrained: Pretrained, arrays: Sequence[Array]) -> Features:
    """Return the features of a batch, float32 of shape (samples, features).

    Raises:
        GraftError: There are none, they have another shape, or they are not finite.
    """
    feeds = pretrained.preprocessor.collate(arrays)
    try:
        with torch.inference_mode():
            features = pretrained.classifier.embed(**_tensors(feeds))
    except Exception as error:  # each architecture fails in its own way
        raise GraftError(f"it cannot compute features of {_describe(feeds)} ({reason_of(error)})") from error
    if features.ndim != len(("batch", "features")) or len(features) != len(arrays):
        shape = tuple(features.shape)
        raise GraftError(f"its features of a batch of {len(arrays)} have the shape {shape}, not one row each")
    rows: Features = features.float().numpy()
    if not np.isfinite(rows).all():
        raise GraftError("its features are not finite")
    return rows


def _try_head(pretrained: Pretrained, arrays: Sequence[Array], features: int) -> None:
    """Set a head of two classes, and run the network with it."""
    pretrained.classifier.set_head(np.zeros((2, features), np.float32), np.array([0.5, -0.5], np.float32))
    feeds = pretrained.preprocessor.collate(arrays)
    try:
        with torch.inference_mode():
            logits = pretrained.classifier(**_tensors(feeds)).float().numpy()
    except Exception as error:  # as above
        raise GraftError(f"it does not run with a linear head ({reason_of(error)})") from error
    if logits.shape != (len(arrays), 2) or not np.allclose(logits, [0.5, -0.5]):
        raise GraftError("its logits are not those of a linear head on its features")


def _tensors(feeds: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Return inputs as torch's tensors."""
    return {name: torch.from_numpy(array) for name, array in feeds.items()}


def _require_same(expected: Features, actual: Features, what: str) -> None:
    """Raise GraftError with the difference if features differ by more than rounding."""
    if expected.shape != actual.shape:
        raise GraftError(f"{what}: the shape is {actual.shape} instead of {expected.shape}")
    scale = max(float(np.abs(expected).max()), 1e-6)
    difference = float(np.abs(expected - actual).max()) / scale
    if not difference <= TOLERANCE:
        raise GraftError(f"{what} (by {difference:.1%} of the largest)")


def _describe(feeds: Mapping[str, Array]) -> str:
    """Return the shape of the first input, for people, such as ``1 x 128``."""
    return " x ".join(map(str, next(iter(feeds.values())).shape))
