"""The frozen backbone over the data, once: features are kept by content hash and computed only where they are new."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import atomic
from pipeline.machine import Settings
from pipeline.modalities.image import Normalisation, to_input
from pipeline.onnx import to_onnx
from pipeline.progress import track
from serving.inputs.image import ImageInputSpec
from serving.runtime import cpu_limit

log = logging.getLogger("graft")
Features = NDArray[np.float32]


class FeatureExtractor(nn.Module):
    """uint8 pictures (batch, H, W, 3) to the backbone's pooled features (batch, features)."""

    def __init__(self, backbone: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalisation = normalisation

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise, then run the backbone up to its head."""
        batch = to_input(pixels, self.normalisation).contiguous()
        return self.backbone.forward_head(self.backbone.forward_features(batch), pre_logits=True)  # type: ignore[no-any-return,operator]


def cache_folder() -> Path:
    """Where features are kept between runs: ``$GRAFT_CACHE``, or ``graft`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GRAFT_CACHE") or Path(base) / "graft")


def features_key(architecture: str, weights_sha256: str, spec: ImageInputSpec, normalisation: Normalisation, settings: Settings) -> str:
    """What a feature depends on besides the picture: the network, its input, and the way to compute it."""
    way = "onnxruntime fp32" if settings.device == "cpu" else f"torch {settings.device} {settings.precision}"
    versions = [metadata.version("torch"), metadata.version("pillow")]
    document = [architecture, weights_sha256, spec.model_dump(), normalisation.mean, normalisation.std, way, versions]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32]


def extract_features(
    extractor: FeatureExtractor, pixels: NDArray[np.uint8], hashes: Sequence[str], cache: Path, settings: Settings
) -> Features:
    """Features of every picture, from the cache where they are known.

    Args:
        extractor: The frozen backbone, in evaluation mode on the CPU.
        pixels: uint8 of shape (pictures, H, W, 3).
        hashes: Each picture's content hash.
        cache: The cache file of this backbone and input.
        settings: On a CPU the exported backbone runs in ONNX Runtime, exact and many times faster than torch; on CUDA, torch.

    Returns:
        float32 of shape (pictures, features).
    """
    known = _read_cache(cache)
    new = [index for index, sha256 in enumerate(hashes) if sha256 not in known]
    if new:
        log.info("features: %d of %d pictures are new", len(new), len(hashes))
        stream = _run_onnx(extractor, pixels, new) if settings.device == "cpu" else _run_torch(extractor, pixels, new, settings)
        found = dict(zip((hashes[i] for i in new), track(stream, total=len(new), what="features", unit="pictures"), strict=True))
        known |= found
        try:
            _write_cache(cache, known)
        except OSError as error:
            log.warning("features: not kept for the next run, because %s (GRAFT_CACHE names another place)", error)
    else:
        log.info("features: all %d pictures are in the cache", len(hashes))
    return np.stack([known[sha256] for sha256 in hashes])


def _run_onnx(extractor: FeatureExtractor, pixels: NDArray[np.uint8], indices: Sequence[int]) -> Iterator[Features]:
    """One picture a run, one thread a run, as many runs at once as CPUs: the fastest way, and independent of the batch."""
    import onnxruntime as ort

    example = torch.from_numpy(pixels[:1].copy())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = to_onnx(extractor, example, input_name="image", output_name="features", metadata={}, dynamic_batch=False)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with ThreadPoolExecutor(cpu_limit()) as pool:
        yield from pool.map(lambda index: session.run(None, {"image": pixels[index][None]})[0][0], indices)


def _run_torch(extractor: FeatureExtractor, pixels: NDArray[np.uint8], indices: Sequence[int], settings: Settings) -> Iterator[Features]:
    device = torch.device(settings.device)
    module = extractor.to(device).to(memory_format=torch.channels_last)
    enabled = settings.precision == "bf16"
    with torch.inference_mode(), torch.autocast(settings.device, torch.bfloat16, enabled=enabled):
        for start in range(0, len(indices), 64):
            batch = torch.from_numpy(pixels[list(indices[start : start + 64])]).to(device)
            yield from module(batch).float().cpu().numpy()
    extractor.to("cpu")


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
