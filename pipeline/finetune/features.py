"""The frozen backbone over the data, once: features are kept by content hash, and only new ones computed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.onnx import create_session, to_onnx
from pipeline.files import atomic
from pipeline.files.layout import cache_folder
from pipeline.machine.settings import Settings
from pipeline.machine.versions import versions_of
from pipeline.modalities.training import Classifier, Examples, Pretrained, Training
from pipeline.reporting.progress import track
from serving.model.runtimes.machine import cpu_limit

log = logging.getLogger("graft")
Features = NDArray[np.float32]


class FeatureExtractor(nn.Module):
    """A classifier without its head: the served model's inputs to features, float32 (batch, features)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, **feeds: torch.Tensor) -> torch.Tensor:
        """What the head would read."""
        return self.classifier.embed(**feeds)


def features_key(pretrained: Pretrained, settings: Settings) -> str:
    """What a feature depends on besides the sample: the network, its input, and the way to compute it."""
    way = "onnxruntime fp32" if settings.device == "cpu" else f"torch {settings.device} {settings.precision}"
    versions = versions_of("torch", "pillow", "tokenizers", "transformers")
    document = [pretrained.network, pretrained.weights_sha256, pretrained.input.model_dump(), way, versions]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


class Extractor:
    """Computes the features that are not in the cache.

    On a CPU the exported backbone runs in ONNX Runtime, exact and many times faster than torch; on CUDA,
    torch.

    Args:
        pretrained: The frozen backbone.
        settings: Where and how to run it.
        modality: The modality of the samples.
    """

    def __init__(self, pretrained: Pretrained, settings: Settings, modality: Training) -> None:
        self.pretrained = pretrained
        self.settings = settings
        self.modality = modality
        self.cache = cache_folder() / "features" / f"{features_key(pretrained, settings)}.npz"

    def extract(self, examples: Examples, indices: NDArray[np.int64], hashes: Sequence[str]) -> Features:
        """Features of some samples, float32 of shape (samples, features).

        Args:
            examples: Decoded samples.
            indices: Which of them.
            hashes: The content hash of each of those.
        """
        known, unit = _read_cache(self.cache), self.modality.UNIT
        new = {
            sha256: int(index) for sha256, index in zip(hashes, indices, strict=True) if sha256 not in known
        }
        if new:
            log.info("features: %d of %d %s are new", len(new), len(hashes), unit)
            run = self._run_onnx if self.settings.device == "cpu" else self._run_torch
            stream = track(run(examples, list(new.values())), total=len(new), what="features", unit=unit)
            known |= zip(new, stream, strict=True)
            try:
                _write_cache(self.cache, known)
            except OSError as error:
                log.warning(
                    "features: not kept for the next run, because %s (GRAFT_CACHE names another place)", error
                )
        else:
            log.info("features: all %d %s are in the cache", len(hashes), unit)
        return np.stack([known[sha256] for sha256 in hashes])

    @cached_property
    def _session(self) -> Any:  # noqa: ANN401 - onnxruntime is untyped
        preprocessor = self.pretrained.preprocessor
        # A batch of one is a constant, and what else varies is not.
        axes = {
            name: tuple(axis if axis != "batch" else None for axis in own)
            for name, own in self.modality.DYNAMIC_AXES.items()
        }
        network = FeatureExtractor(self.pretrained.classifier)
        model = to_onnx(
            network,
            preprocessor.collate([preprocessor.blank()]),
            output_name="features",
            metadata={},
            dynamic_axes=axes,
        )
        return create_session(model)

    def _run_onnx(self, examples: Examples, indices: Sequence[int]) -> Iterator[Features]:
        """Yield each sample's features in order, from as many runs at once as there are CPUs.

        One sample and one thread a run is the fastest way, and independent of what else is in a batch.
        """
        session, collate = self._session, self.pretrained.preprocessor.collate
        with ThreadPoolExecutor(cpu_limit()) as pool:
            yield from pool.map(lambda index: session.run(None, collate([examples[index]]))[0][0], indices)

    def _run_torch(self, examples: Examples, indices: Sequence[int]) -> Iterator[Features]:
        classifier, device = self.pretrained.classifier, self.settings.device
        module = classifier.saved().to(device)
        classifier.prepare()
        enabled = self.settings.precision == "bf16"
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=enabled):
            for start in range(0, len(indices), 64):
                batch = examples.batch(np.array(indices[start : start + 64]), device)
                yield from classifier.embed(**batch).float().cpu().numpy()
        module.to("cpu")


def _read_cache(path: Path) -> dict[str, Features]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(zip(stored["sha256"].tolist(), stored["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("features: the cache %s cannot be read (%s) and is made anew", path, error)
        return {}


def _write_cache(path: Path, features: dict[str, Features]) -> None:
    atomic.write_arrays(path, sha256=np.array(list(features)), features=np.stack(list(features.values())))
