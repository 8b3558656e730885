"""Features of the frozen backbone, kept by the content hash of their sample: each is computed once."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
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

from pipeline.artifacts.onnx import OnnxModel, to_onnx
from pipeline.artifacts.sessions import create_session
from pipeline.files import atomic
from pipeline.files.layout import cache_folder
from pipeline.finetune.start.networks import keep_network, read_network
from pipeline.machine.processes import ALONE, Processes
from pipeline.machine.settings import Settings
from pipeline.machine.versions import versions_of
from pipeline.modalities.registry import find_modality
from pipeline.modalities.training import Classifier, Examples, Pretrained, Training
from pipeline.reporting.progress import track
from serving.model.runtimes.machine import cpu_limit

log = logging.getLogger("graft")
Features = NDArray[np.float32]


class FeatureExtractor(nn.Module):
    """A classifier without its head: from the served model's inputs to features, float32 (batch, features).

    Args:
        classifier: The classifier, whose head is not used.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, **feeds: torch.Tensor) -> torch.Tensor:
        """Return the features that the head would read, float32 of shape (batch, features)."""
        return self.classifier.embed(**feeds)


def features_key(pretrained: Pretrained, settings: Settings) -> str:
    """Return a hash, in hex, of what a feature depends on besides the sample.

    That is the network, its input, and the way to compute it.

    Args:
        pretrained: The frozen backbone.
        settings: Device and precision of the computation.
    """
    method = "onnxruntime fp32"
    if settings.device != "cpu":
        method = f"torch {settings.device} {settings.precision}"
    versions = versions_of("torch", *find_modality(pretrained.input.modality).packages)
    spec = pretrained.input.model_dump()
    document = [pretrained.network, pretrained.weights_sha256, spec, method, versions]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


class Extractor:
    """A frozen backbone that computes the features that are not in the cache.

    On a CPU the exported backbone runs in ONNX Runtime, exactly and many times faster than in torch; on CUDA
    it runs in torch.

    Args:
        pretrained: The frozen backbone.
        settings: Device and precision of the computation.
        modality: The training side of the samples' kind of input.
        processes: The processes that share the work; by default this one does all of it. The first of them
            reads and writes the cache.
    """

    def __init__(
        self, pretrained: Pretrained, settings: Settings, modality: Training, processes: Processes = ALONE
    ) -> None:
        self.pretrained = pretrained
        self.settings = settings
        self.modality = modality
        self.processes = processes
        self.cache = cache_folder() / "features" / f"{features_key(pretrained, settings)}.npz"

    def extract(self, examples: Examples, indices: NDArray[np.int64], hashes: Sequence[str]) -> Features:
        """Return the features of some samples, float32 of shape (samples, features).

        The new ones are added to the cache; where it cannot be written, a warning in the log says so.

        Args:
            examples: Decoded samples.
            indices: Indices of the samples whose features are wanted, int64 of shape (samples,).
            hashes: The content hash of each of those samples, in hex.
        """
        shared, unit = self.processes, self.modality.UNIT
        known = _read_cache(self.cache) if shared.is_first else {}
        new = {
            sha256: int(index) for sha256, index in zip(hashes, indices, strict=True) if sha256 not in known
        }
        missing = shared.from_first(lambda: {"indices": np.array(list(new.values()), np.int64)})["indices"]
        if len(missing):
            log.info("features: %d of %d %s are new", len(missing), len(hashes), unit)
            run = self._run_onnx if self.settings.device == "cpu" else self._run_torch
            own = shared.share(missing.tolist())
            computed = shared.gather(
                list(track(run(examples, own), total=len(own), what="features", unit=unit))
            )
            if shared.is_first:
                known |= zip(new, computed, strict=True)
                self._keep(known)
        else:
            log.info("features: all %d %s are in the cache", len(hashes), unit)
        return shared.from_first(lambda: {"features": np.stack([known[sha256] for sha256 in hashes])})[
            "features"
        ]

    def _keep(self, known: dict[str, Features]) -> None:
        """Write the cache; where it cannot be written, say so in the log."""
        try:
            _write_cache(self.cache, known)
        except OSError as error:
            log.warning(
                "features: not kept for the next run, because %s (GRAFT_CACHE names another place)", error
            )

    @cached_property
    def session(self) -> Any:  # noqa: ANN401 - onnxruntime is untyped
        """A session of ONNX Runtime on the backbone, which is exported once and kept beside its features.

        Raises:
            GraftError: It cannot be exported.
        """
        kept = read_network(self.cache.parent, self.cache.stem)
        if kept is not None:
            return create_session(OnnxModel(kept))
        preprocessor = self.pretrained.preprocessor
        with tempfile.TemporaryDirectory(prefix="graft-") as folder:
            model = to_onnx(
                FeatureExtractor(self.pretrained.classifier),
                preprocessor.collate([preprocessor.blank()] * 2),
                output_name="features",
                metadata={},
                dynamic_axes=self.modality.DYNAMIC_AXES,
                tensors=Path(folder) / "backbone.onnx.data",
            )
            if model.tensors is None:
                keep_network(self.cache.parent, self.cache.stem, model.content)
            return create_session(model)

    def _run_onnx(self, examples: Examples, indices: Sequence[int]) -> Iterator[Features]:
        """Yield each sample's features, of shape (features,), from as many runs at once as there are CPUs.

        One sample and one thread a run is the fastest way, and independent of what else is in a batch.
        """
        session, collate = self.session, self.pretrained.preprocessor.collate
        with ThreadPoolExecutor(cpu_limit()) as pool:
            yield from pool.map(lambda index: session.run(None, collate([examples[index]]))[0][0], indices)

    def _run_torch(self, examples: Examples, indices: Sequence[int]) -> Iterator[Features]:
        """Yield each sample's features, of shape (features,), computed in batches of 64 on an accelerator."""
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
    """Read the cached features by their sample's hash; none where there is no cache, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(zip(stored["sha256"].tolist(), stored["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("features: the cache %s cannot be read (%s) and is made anew", path, error)
        return {}


def _write_cache(path: Path, features: dict[str, Features]) -> None:
    """Write features and their samples' hashes as an npz file."""
    atomic.write_arrays(path, sha256=np.array(list(features)), features=np.stack(list(features.values())))
