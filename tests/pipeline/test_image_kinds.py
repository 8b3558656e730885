"""Every kind of image network goes from checkpoint to ONNX to receipt, by ONNX Runtime and by OpenVINO."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from timm.models.vgg import VGG

from pipeline.data.samples import Sample, labels_of, write_samples
from pipeline.evaluate.reference import Answers, Reference, write_reference
from pipeline.export.stage import export
from pipeline.finetune.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.layout import RunFolder
from pipeline.modalities.image.network import ImageClassifier
from pipeline.modalities.image.training import build_classifier
from pipeline.recipe.reading import load_recipe
from pipeline.verify.stage import verify
from serving.inputs.image import ImageInputSpec, ImagePreprocessor
from tests.conftest import make_folder, recipe_document

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
    """A checkpoint with random weights, and what it answers, as fine-tuning and evaluation would leave them."""
    paths = sorted(folder.rglob("*.png"))
    splits = ("test", "validation") * len(paths)
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
    save_checkpoint(run.checkpoint, classifier.saved().state_dict(), card, {}, Validation(logits[1::2], targets[1::2]), {})
    test, validation = (Answers(logits[i::2], targets[i::2], [sample.sha256 for sample in samples[i::2]]) for i in (0, 1))
    write_reference(run.reference, Reference(test, validation, TEMPERATURE, labels))


def spread_logits(classifier: ImageClassifier, pixels: torch.Tensor) -> None:
    """Random weights may answer all pictures alike; a head along what differs most lets every fault show."""
    with torch.no_grad():
        features = classifier.embed(image=pixels).double()
    centred = features - features.mean(dim=0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    direction /= (centred @ direction).std()
    bias = float(-(features @ direction).mean())
    classifier.set_head(torch.stack([direction, -direction]).float().numpy(), np.array([bias, -bias], np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_network_goes_from_checkpoint_to_passed_receipts(tmp_path: Path, folder: Path, name: str) -> None:
    run = RunFolder(tmp_path / "run")
    export_section = {"formats": ["onnx-fp32", "openvino-fp32"], "limits": {"openvino-fp32": {"min_speedup": 0}}}
    document = recipe_document(folder, Path("weights"), name="kinds", backbone={"name": name, "weights": "weights"}, export=export_section)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    make_checkpoint(run, folder, name, KINDS[name])
    export(recipe, run)
    verify(recipe, run)
    for artifact in ("onnx-fp32", "openvino-fp32"):
        receipt = json.loads((run.bundle / "receipts" / f"{artifact}.json").read_text())
        assert receipt["passed"] is True
        assert receipt["agreeing"] == receipt["samples"] == 16
        assert receipt["logit_scale"] > 0.5, "the answers differ, so that a fault would show"
