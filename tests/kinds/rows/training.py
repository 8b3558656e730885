"""The side that trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Pretrained, Shown, TrainingOptions

from .served import RowInputSpec, RowPreprocessor

UNIT = "rows"
DYNAMIC_AXES = {"row": ("batch",)}


class RowClassifier(nn.Module):
    """float32 rows (batch, columns) to logits (batch, classes)."""

    half_precision_part = "body"

    def __init__(self, columns: int, width: int, classes: int) -> None:
        super().__init__()
        layers = [nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def forward(self, row):
        return self.head(self.body(row))

    def embed(self, row):
        return self.body(row)

    def set_head(self, weight, bias) -> None:
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def saved(self) -> nn.Module:
        return self

    def parameter_groups(self, learning_rate: float, layer_decay: float, weight_decay: float):
        return [{"params": list(self.parameters()), "lr": learning_rate, "weight_decay": weight_decay}]

    def prepare(self) -> None:
        """Nothing: there is one form."""


class RowExamples:
    """Rows, float32 of shape (samples, columns)."""

    def __init__(self, rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        return self.rows[index]

    def lengths(self) -> None:
        return None

    def batch(self, indices, device: str, generator=None):
        return {"row": torch.from_numpy(self.rows[indices]).to(device)}


def load_pretrained(recipe) -> Pretrained:
    spec = RowInputSpec(columns=recipe.row.columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = RowClassifier(spec.columns, recipe.backbone.width, classes=2).eval()
    return Pretrained(
        classifier=classifier,
        network={"columns": spec.columns, "width": recipe.backbone.width},
        input=spec,
        files={},
        preprocessor=RowPreprocessor(spec),
        weights_sha256=hash_tensors(classifier.body.state_dict()),
    )


def build_classifier(network, classes: int) -> RowClassifier:
    return RowClassifier(network["columns"], network["width"], classes)


def decode_examples(samples, preprocessor, scratch, augment=None) -> RowExamples:
    return RowExamples(np.stack([preprocessor.decode(sample.read()).array for sample in samples]))


def fit_baseline(samples, targets, seed: int) -> None:
    return None


def show(data: bytes) -> Shown:
    return Shown(text=data.decode())


def training_options(finetune) -> TrainingOptions:
    return TrainingOptions()


def longest_axes(spec) -> dict[str, int]:
    return {}
