from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.finetune import features
from pipeline.finetune.features import FeatureExtractor, extract_features, features_key
from pipeline.machine import Settings
from pipeline.modalities.image import Normalisation, create_network
from serving.inputs.image import ImageInputSpec
from tests.conftest import TINY

CPU = Settings("cpu", "fp32", threads=2, why="test")
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(create_network(TINY).eval(), HALF).eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)


@pytest.mark.slow
def test_extract_features_equals_torch_to_float_precision(extractor: FeatureExtractor, pixels: np.ndarray, tmp_path: Path) -> None:
    found = extract_features(extractor, pixels, list("abcdef"), tmp_path / "c.npz", CPU)
    with torch.inference_mode():
        reference = extractor(torch.from_numpy(pixels)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - reference).max() / np.abs(reference).max() <= 1e-4


@pytest.mark.slow
def test_extract_features_computes_only_what_is_new(
    extractor: FeatureExtractor, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[list[int]] = []
    original = features._run_onnx
    monkeypatch.setattr(features, "_run_onnx", lambda e, p, new: (computed.append(list(new)), original(e, p, new))[1])
    cache = tmp_path / "c.npz"
    first = extract_features(extractor, pixels[:3], list("abc"), cache, CPU)
    again = extract_features(extractor, pixels[[2, 0, 1]], list("cab"), cache, CPU)
    more = extract_features(extractor, pixels[:4], list("abcd"), cache, CPU)
    assert computed == [[0, 1, 2], [3]]
    assert np.array_equal(again, first[[2, 0, 1]])
    assert np.array_equal(more[:3], first)


@pytest.mark.slow
def test_extract_features_goes_on_when_the_cache_is_broken(extractor: FeatureExtractor, pixels: np.ndarray, tmp_path: Path) -> None:
    cache = tmp_path / "c.npz"
    expected = extract_features(extractor, pixels[:2], list("ab"), cache, CPU)
    cache.write_bytes(cache.read_bytes()[:100])
    assert np.array_equal(extract_features(extractor, pixels[:2], list("ab"), cache, CPU), expected)


def test_features_key_depends_on_all_that_features_depend_on() -> None:
    spec = ImageInputSpec(height=48, width=48)
    keys = {
        features_key("net", "w", spec, HALF, CPU),
        features_key("other", "w", spec, HALF, CPU),
        features_key("net", "v", spec, HALF, CPU),
        features_key("net", "w", spec.model_copy(update={"crop_pct": 0.9}), HALF, CPU),
        features_key("net", "w", spec, Normalisation((0.4, 0.5, 0.5), (0.5, 0.5, 0.5)), CPU),
        features_key("net", "w", spec, HALF, Settings("cuda", "fp32", threads=2, why="test")),
        features_key("net", "w", spec, HALF, Settings("cuda", "bf16", threads=2, why="test")),
    }
    assert len(keys) == 7
