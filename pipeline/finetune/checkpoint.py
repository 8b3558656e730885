"""The fine-tuned model on disk: weights as safetensors, and what is needed to rebuild the network around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import atomic
from pipeline.errors import GraftError
from pipeline.modalities.image import Normalisation, create_network
from serving.bundle import hash_file
from serving.inputs.image import ImageInputSpec

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "checkpoint.json"
HISTORY_FILE = "history.json"
VALIDATION_FILE = "validation.npz"


@dataclass(frozen=True)
class CheckpointCard:
    """What stands beside the weights.

    Attributes:
        architecture: timm's name of the network.
        labels: Class names, in the order of the logits.
        input: How a picture becomes the network's input.
        normalisation: What the network expects its pixels to be scaled by.
        weights_sha256: The pretrained weights that training started from: hash of their tensors.
    """

    architecture: str
    labels: tuple[str, ...]
    input: ImageInputSpec
    normalisation: Normalisation
    weights_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The card as JSON."""
        return {
            "architecture": self.architecture,
            "labels": list(self.labels),
            "input": self.input.model_dump(),
            "normalisation": {"mean": list(self.normalisation.mean), "std": list(self.normalisation.std)},
            "weights_sha256": self.weights_sha256,
        }


@dataclass(frozen=True)
class Validation:
    """The checkpoint's logits on validation, float32 (samples, classes), and the class indices (samples,)."""

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]


def save_checkpoint(
    folder: Path, state: dict[str, torch.Tensor], card: CheckpointCard, validation: Validation, history: dict[str, Any]
) -> None:
    """Write a checkpoint in one step."""
    from safetensors.torch import save

    with atomic.folder(folder) as partial:
        atomic.write_bytes(partial / WEIGHTS_FILE, save({name: value.contiguous() for name, value in state.items()}))
        atomic.write_json(partial / CARD_FILE, card.to_json())
        atomic.write_arrays(partial / VALIDATION_FILE, logits=validation.logits, targets=validation.targets)
        atomic.write_json(partial / HISTORY_FILE, history)


def read_card(folder: Path) -> CheckpointCard:
    """What stands beside the weights."""
    document = json.loads((folder / CARD_FILE).read_bytes())
    mean, std = document["normalisation"]["mean"], document["normalisation"]["std"]
    return CheckpointCard(
        architecture=document["architecture"],
        labels=tuple(document["labels"]),
        input=ImageInputSpec.model_validate(document["input"]),
        normalisation=Normalisation(tuple(mean), tuple(std)),
        weights_sha256=document["weights_sha256"],
    )


def read_validation(folder: Path) -> Validation:
    """The logits that the epochs were chosen by, for calibration."""
    with np.load(folder / VALIDATION_FILE, allow_pickle=False) as stored:
        return Validation(stored["logits"], stored["targets"])


def read_history(folder: Path) -> dict[str, Any]:
    """The record of the training: settings, and each epoch's figures."""
    document: dict[str, Any] = json.loads((folder / HISTORY_FILE).read_bytes())
    return document


def hash_checkpoint(folder: Path) -> str:
    """SHA-256, in hex, of the checkpoint's weights file."""
    return hash_file(folder / WEIGHTS_FILE)


def load_checkpoint(folder: Path) -> tuple[nn.Module, CheckpointCard]:
    """The fine-tuned network, in evaluation mode on the CPU, and its card.

    Raises:
        GraftError: The weights do not fit the network that the card names.
    """
    from safetensors.torch import load_file

    card = read_card(folder)
    model = create_network(card.architecture, len(card.labels))
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, RuntimeError) as error:
        raise GraftError(
            f"{folder / WEIGHTS_FILE}: does not fit {card.architecture} ({error}). Train again: graft finetune RUN --force"
        ) from error
    return model.eval(), card
