from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.finetune.start import features
from pipeline.finetune.start.features import Extractor, features_key
from pipeline.machine.settings import Settings
from pipeline.modalities.image import training as image
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.network import ImageClassifier, Normalisation, create_network
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.training import Pretrained
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.image.spec import ImageInputSpec
from tests.conftest import TINY

CPU = Settings("cpu", "fp32", threads=2, why="test")
SPEC = ImageInputSpec(height=48, width=48)


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    classifier = ImageClassifier(create_network(TINY), Normalisation((0.5,) * 3, (0.5,) * 3)).eval()
    return Pretrained(classifier, {"architecture": TINY}, SPEC, {}, ImagePreprocessor(SPEC), "w")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def examples() -> ImageExamples:
    return ImageExamples(
        np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8), ImageAugment()
    )


@pytest.mark.slow
def test_extract_equals_torch_to_float_precision(pretrained: Pretrained, examples: ImageExamples) -> None:
    found = Extractor(pretrained, CPU, image).extract(examples, np.arange(6), list("abcdef"))
    with torch.inference_mode():
        reference = pretrained.classifier.embed(image=torch.from_numpy(examples.pixels)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - reference).max() / np.abs(reference).max() <= 1e-4


@pytest.mark.slow
def test_extract_computes_only_what_is_new_and_goes_on_when_the_cache_is_broken(
    pretrained: Pretrained, examples: ImageExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[list[int]] = []
    original = Extractor._run_onnx
    monkeypatch.setattr(
        Extractor, "_run_onnx", lambda self, e, new: (computed.append(list(new)), original(self, e, new))[1]
    )
    extractor = Extractor(pretrained, CPU, image)
    first = extractor.extract(examples, np.arange(3), list("abc"))
    again = extractor.extract(examples, np.array([2, 0, 1]), list("cab"))
    more = extractor.extract(examples, np.arange(4), list("abcd"))
    assert computed == [[0, 1, 2], [3]]
    assert np.array_equal(again, first[[2, 0, 1]])
    assert np.array_equal(more[:3], first)
    extractor.cache.write_bytes(extractor.cache.read_bytes()[:100])
    assert np.array_equal(extractor.extract(examples, np.arange(2), list("ab")), first[:2])
    assert computed[2:] == [[0, 1]]


@pytest.mark.slow
def test_backbone_is_exported_once_for_all_and_gives_the_same_features(
    pretrained: Pretrained, examples: ImageExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Extractor(pretrained, CPU, image).extract(examples, np.arange(3), list("abc"))
    monkeypatch.setattr(features, "to_onnx", lambda *_, **__: pytest.fail("it is exported again"))
    again = Extractor(pretrained, CPU, image).extract(examples, np.arange(3), list("xyz"))
    assert np.array_equal(again, first)


def test_features_key_depends_on_all_that_features_depend_on(pretrained: Pretrained) -> None:
    keys = {
        features_key(pretrained, CPU),
        features_key(replace(pretrained, network={"architecture": "other"}), CPU),
        features_key(replace(pretrained, weights_sha256="v"), CPU),
        features_key(replace(pretrained, input=SPEC.model_copy(update={"crop_pct": 0.9})), CPU),
        features_key(replace(pretrained, network={"architecture": TINY, "mean": [0.4] * 3}), CPU),
        features_key(pretrained, Settings("cuda", "fp32", threads=2, why="test")),
        features_key(pretrained, Settings("cuda", "bf16", threads=2, why="test")),
    }
    assert len(keys) == 7
