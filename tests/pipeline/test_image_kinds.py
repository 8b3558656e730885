"""Every kind of image network goes from checkpoint to ONNX to receipt, by ONNX Runtime and by OpenVINO."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from timm.models.vgg import VGG

from pipeline.artifacts.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.artifacts.history import History
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, labels_of, write_samples
from pipeline.machine.settings import Settings
from pipeline.measures.reference import Answers, Reference, write_reference
from pipeline.modalities.image.network import ImageClassifier
from pipeline.modalities.image.training import build_classifier
from pipeline.recipe.reading import load_recipe
from pipeline.verify.stage import verify
from serving.model.bundle import open_bundle
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.predictor import load_predictor
from tests.conftest import make_folder, recipe_document
from tests.histories import HEAD, UNTRAINED

pytestmark = pytest.mark.slow
TEMPERATURE = 1.3
# timm's own small networks for tests where it has them; the others at the smallest size that they take.
KINDS = {
    "test_resnet": 64,
    "test_efficientnet": 64,
    "test_convnext": 64,
    "test_vit": 160,
    "mobilenetv3_small_050": 64,
    "graft_tiny_vgg": 64,
    "inception_v3": 96,
}


@timm.models.register_model
def graft_tiny_vgg(pretrained: bool = False, **kwargs: object) -> VGG:
    """VGG's layers, a sixteenth as wide: the smallest that timm names has 128 million weights."""
    kwargs = {key: value for key, value in kwargs.items() if key in {"num_classes", "in_chans"}}
    return VGG([4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"], mlp_ratio=1 / 64, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("kinds") / "pictures", per_label=16)


def make_checkpoint(run: RunFolder, folder: Path, name: str, size: int) -> None:
    """A checkpoint with random weights, and what it answers.

    Both are as fine-tuning and evaluation would leave them.
    """
    paths = sorted(folder.rglob("*.png"))
    splits = ("test", "validation", "test", "validation", "calibration") * len(paths)
    samples = [
        Sample(str(path), path.parent.name, split, hashlib.sha256(path.read_bytes()).hexdigest())
        for path, split in zip(paths, splits, strict=False)
    ]
    write_samples(run, samples)
    spec = ImageInputSpec(height=size, width=size, crop_pct=0.9)
    network = {"architecture": name, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    torch.manual_seed(0)
    classifier = build_classifier(network, 2).eval()
    decoder = ImagePreprocessor(spec)
    pixels = torch.from_numpy(np.stack([decoder.decode(path.read_bytes()).array for path in paths]))
    spread_logits(classifier, pixels)
    with torch.no_grad():
        logits = classifier(image=pixels).numpy()
    labels = labels_of(samples)
    targets = np.array([labels.index(sample.label) for sample in samples])
    card = CheckpointCard(network, labels, spec, weights_sha256="0" * 64)

    def answers_of(split: str) -> Answers:
        chosen = [index for index, sample in enumerate(samples) if sample.split == split]
        return Answers(logits[chosen], targets[chosen], [samples[index].sha256 for index in chosen])

    test, validation = answers_of("test"), answers_of("validation")
    save_checkpoint(
        run.checkpoint,
        classifier.saved().state_dict(),
        card,
        {},
        Validation(validation.logits, validation.targets),
        History(
            settings=Settings("cpu", "fp32", threads=2, why="no training"),
            class_weights=None,
            head=HEAD,
            trained=UNTRAINED,
            best_epoch=0,
            kept="the best head",
            epochs=(),
        ),
    )
    write_reference(run.reference, Reference(test, validation, TEMPERATURE, labels))


def spread_logits(classifier: ImageClassifier, pixels: torch.Tensor) -> None:
    """Random weights may answer all pictures alike; a head along what differs most lets every fault show."""
    with torch.no_grad():
        features = classifier.embed(image=pixels).double()
    centred = features - features.mean(dim=0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    direction /= (centred @ direction).std()
    bias = float(-(features @ direction).mean())
    classifier.set_head(
        torch.stack([direction, -direction]).float().numpy(), np.array([bias, -bias], np.float32)
    )


INT8 = {"test_resnet": "static", "test_vit": "dynamic"}
Proved = tuple[RunFolder, dict[str, dict[str, object]]]
Prove = Callable[[str], Proved]


@pytest.fixture(scope="module")
def prove(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Prove:
    """Make a run with every artifact that a network is tested in, once, and return it with the receipts."""
    return functools.cache(lambda name: _prove(tmp_path_factory.mktemp(name), folder, name))


def _prove(folder: Path, pictures: Path, name: str) -> Proved:
    """A run with an artifact of each format, published however fast it is; and the receipts."""
    run, formats = RunFolder(folder / "run"), ["onnx-fp32", "openvino-fp32", *["onnx-int8"] * (name in INT8)]
    section = {"formats": formats, "limits": {name: {"min_speedup": 0} for name in formats[1:]}}
    document = recipe_document(
        pictures, Path("weights"), name="kinds", backbone={"name": name, "weights": "weights"}, export=section
    )
    document["data"] = {"source": str(pictures), "splits": {"calibration": 0.2}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = load_recipe(folder / "recipe.yaml")
    make_checkpoint(run, pictures, name, KINDS[name])
    export(recipe, run)
    verify(recipe, run)
    return run, {format_: json.loads(run.receipt_of(format_).read_text()) for format_ in formats}


@pytest.mark.parametrize("name", KINDS)
def test_network_goes_from_checkpoint_to_passed_receipts(prove: Prove, name: str) -> None:
    run, receipts = prove(name)
    for format_ in ("onnx-fp32", "openvino-fp32"):
        receipt = receipts[format_]
        assert receipt["passed"] is True
        assert receipt["agreeing"] == receipt["samples"] == 13
        assert receipt["logit_scale"] > 0.5, "the answers differ, so that a fault would show"
    assert [artifact.name for artifact in open_bundle(run.bundle).manifest.artifacts] == list(receipts)


@pytest.mark.parametrize(("name", "method"), INT8.items())
def test_int8_of_pictures_goes_the_whole_way(prove: Prove, name: str, method: str) -> None:
    """Convolutions by ranges of the calibration split, a transformer as texts are."""
    run, receipts = prove(name)
    receipt = receipts["onnx-int8"]
    assert receipt["passed"] is True, receipt["checks"]
    assert receipt["made"]["method"].startswith(method)
    assert receipt["made"]["calibrated_on"] == "6 samples of calibration"
    assert receipt["max_abs_logits"] > 1e-4, "it is another precision"
    predictor = load_predictor(run.bundle, artifact="onnx-int8")
    assert predictor.artifact.max_batch_size == (1 if method == "dynamic" else None)
    assert run.candidates.joinpath("model-int8.onnx").stat().st_size < 0.5 * run.model.stat().st_size
