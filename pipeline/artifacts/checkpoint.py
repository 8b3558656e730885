"""The fine-tuned model on disk: weights as safetensors, and the card from which the network is rebuilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipeline.artifacts.history import History, write_history
from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.modalities.registry import find_modality
from pipeline.modalities.training import Classifier, NetworkDescription
from serving.model.files import hash_file
from serving.model.inputs.kind import InputSpec
from serving.model.inputs.registry import AnyInputSpec

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "checkpoint.json"
VALIDATION_FILE = "validation.npz"


@dataclass(frozen=True)
class CheckpointCard:
    """The card of a checkpoint, the file ``checkpoint.json`` beside its weights.

    Attributes:
        network: Description that the network is rebuilt from: a JSON object, whose form is each modality's
            own.
        labels: Class names, in the order of the logits.
        input: Specification of how bytes become the network's input.
        weights_sha256: SHA-256, in hexadecimal, of the tensors of the pretrained weights that training
            started from.
    """

    network: NetworkDescription
    labels: tuple[str, ...]
    input: InputSpec
    weights_sha256: str

    def to_json(self) -> dict[str, object]:
        """Return the card as a JSON object."""
        return {
            "network": self.network,
            "labels": list(self.labels),
            "input": self.input.model_dump(),
            "weights_sha256": self.weights_sha256,
        }


@dataclass(frozen=True)
class Validation:
    """The checkpoint's answers on the validation split.

    Attributes:
        logits: Logits, float32 of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]


def save_checkpoint(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    card: CheckpointCard,
    files: Mapping[str, bytes],
    validation: Validation,
    history: History,
) -> None:
    """Write a checkpoint, and the files that its input spec names, in one step.

    Args:
        folder: The checkpoint's folder, which is replaced.
        state: The network's tensors, by their names.
        card: The card that stands beside the weights.
        files: Content of the files that the input spec names, by their names.
        validation: The checkpoint's answers on validation.
        history: The record of the training.
    """
    from safetensors.torch import save

    with atomic.folder(folder) as partial:
        atomic.write_bytes(
            partial / WEIGHTS_FILE, save({name: value.contiguous() for name, value in state.items()})
        )
        for name, content in files.items():
            atomic.write_bytes(partial / name, content)
        atomic.write_json(partial / CARD_FILE, card.to_json())
        atomic.write_arrays(partial / VALIDATION_FILE, logits=validation.logits, targets=validation.targets)
        write_history(partial, history)


def read_card(folder: Path) -> CheckpointCard:
    """Read the card of the checkpoint in a folder."""
    document = json.loads((folder / CARD_FILE).read_bytes())
    return CheckpointCard(
        network=document["network"],
        labels=tuple(document["labels"]),
        input=TypeAdapter(AnyInputSpec).validate_python(document["input"]),
        weights_sha256=document["weights_sha256"],
    )


def read_validation(folder: Path) -> Validation:
    """Read the logits that the best epoch was chosen by, to which calibration is fitted."""
    with np.load(folder / VALIDATION_FILE, allow_pickle=False) as stored:
        return Validation(stored["logits"], stored["targets"])


def hash_checkpoint(folder: Path) -> str:
    """Return the SHA-256, in hexadecimal, of the checkpoint's weights file."""
    return hash_file(folder / WEIGHTS_FILE)


def load_checkpoint(folder: Path) -> tuple[Classifier, CheckpointCard]:
    """Load the fine-tuned network, in evaluation mode on the CPU, and its card.

    Args:
        folder: The checkpoint's folder.

    Raises:
        GraftError: The weights do not fit the network that the card describes.
    """
    from safetensors.torch import load_file

    card = read_card(folder)
    modality = find_modality(card.input.modality).load()
    try:
        classifier = modality.build_classifier(card.network, len(card.labels))
        classifier.saved().load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, RuntimeError, ValueError) as error:
        raise GraftError(
            f"{folder / WEIGHTS_FILE}: does not fit the network of {CARD_FILE} ({error})."
            " Train again: graft finetune RUN --force"
        ) from error
    classifier.saved().eval()
    return classifier, card
