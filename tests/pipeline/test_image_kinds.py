"""Every kind of image network goes from checkpoint to ONNX to receipt, by ONNX Runtime and by OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from timm.models.vgg import VGG

from pipeline.data.samples import Sample, labels_of, write_samples
from pipeline.evaluate.stage import evaluate
from pipeline.export.stage import export
from pipeline.finetune.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.finetune.loop import compute_logits
from pipeline.layout import RunFolder
from pipeline.modalities.image.training import build_classifier, decode_examples
from pipeline.modalities.tensors import hash_tensors
from pipeline.recipe.reading import load_recipe
from pipeline.verify.stage import verify
from serving.inputs.image import ImageInputSpec, ImagePreprocessor
from tests.conftest import make_folder, recipe_document

pytestmark = pytest.mark.slow
SPLITS = ("test", "validation", "test", "calibration")
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
    return VGG([4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"], mlp_ratio=1 / 64, feature_window_size=2, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("kinds") / "pictures", per_label=16)


def make_checkpoint(run: RunFolder, folder: Path, name: str, size: int) -> None:
    """A checkpoint with random weights, as fine-tuning would leave it."""
    samples = [
        Sample(str(path), path.parent.name, SPLITS[index % 4], __import__("hashlib").sha256(path.read_bytes()).hexdigest())
        for index, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    write_samples(run, samples)
    run.audit.write_text(
        json.dumps({"counts": {}, "samples": len(samples), "skipped_unreadable": {}, "dropped_repeats": {}, "skipped_conflicts": []})
    )
    torch.manual_seed(0)
    card = CheckpointCard(
        network={"architecture": name, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        labels=labels_of(samples),
        input=ImageInputSpec(height=size, width=size, crop_pct=0.9),
        weights_sha256="0" * 64,
    )
    classifier = build_classifier(card.network, 2)
    _spread_logits(classifier, folder, card.input, run)
    state = classifier.saved().state_dict()
    history = {"epochs": [{"epoch": 0, "validation_loss": 0.7, "accuracy": 0.5}], "best_epoch": 0}
    chosen = [sample for sample in samples if sample.split == "validation"]
    examples = decode_examples(chosen, ImagePreprocessor(card.input), run.scratch("validation"))
    logits = compute_logits(classifier, examples, "cpu", "validation", "pictures")
    targets = np.array([card.labels.index(sample.label) for sample in chosen])
    save_checkpoint(run.checkpoint, state, card, {}, Validation(logits, targets), history | {"network": hash_tensors(state)})


def _spread_logits(classifier, folder, spec, run) -> None:
    """Random weights may answer all pictures alike; a head scaled to spread the logits makes every fault visible."""
    paths = sorted(folder.rglob("*.png"))
    examples = decode_examples(
        [type("File", (), {"read": path.read_bytes})() for path in paths], ImagePreprocessor(spec), run.scratch("all")
    )
    classifier.eval()
    with torch.no_grad():
        features = classifier.embed(**examples.batch(np.arange(len(paths)), "cpu")).double()
        centred = features - features.mean(dim=0)
        direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
        direction = direction / (centred @ direction).std()
        bias = -(features @ direction).mean()
    weight = torch.stack([direction, -direction]).float().numpy()
    classifier.set_head(weight, np.array([bias, -bias], np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_network_goes_from_checkpoint_to_passed_receipts(tmp_path: Path, folder: Path, name: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.root.mkdir()
    limits = {"openvino-fp32": {"min_speedup": 0}}
    document = recipe_document(folder, Path("weights"), export={"formats": ["onnx-fp32", "openvino-fp32"], "limits": limits})
    document |= {"backbone": {"name": name, "weights": "weights"}, "name": "kinds"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    run.samples.parent.mkdir()
    make_checkpoint(run, folder, name, KINDS[name])
    evaluate(recipe, run)
    export(recipe, run)
    verify(recipe, run)
    for artifact in ("onnx-fp32", "openvino-fp32"):
        receipt = json.loads((run.bundle / "receipts" / f"{artifact}.json").read_text())
        assert receipt["passed"] is True
        assert receipt["agreeing"] == receipt["samples"] == 16
        assert receipt["logit_scale"] > 0.5, "the answers differ, so that a fault would show"
